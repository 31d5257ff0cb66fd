"""What units cost in time: measured on one device, group by group, and what fewer of them would take."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from pydantic import Field

from secateur.record import Record
from secateur.removal.counts import count_term, kept_per_part
from secateur.units import ModelUnits, Term, UnitGroup


class GroupTime(Record):
    """The network timed beside itself without some units of one group."""

    group: str = Field(description="The weight that gives the units.")
    units: int = Field(ge=1, description="How many were cut out: about half.")
    macs: int = Field(ge=0, description="Multiply-accumulates of one example that went with them.")
    ms: float = Field(
        ge=0,
        allow_inf_nan=False,
        description="Milliseconds a batch that went with them: the median of paired differences; 0: none did.",
    )


class UnitTimes(Record):
    """All groups that a job may take from, timed once. What is predicted follows from these numbers alone."""

    dense_ms: float = Field(gt=0, allow_inf_nan=False, description="Milliseconds a batch, the median of all runs.")
    batch: int
    device: str
    threads: int
    runs: int = Field(description="Pairs of runs for each group.")
    groups: tuple[GroupTime, ...]
    left_alone: tuple[str, ...] = Field(
        default=(), description="Nodes that surgery could not follow, whose units were therefore not timed."
    )


class TimedUnits(ModelUnits):
    """The units of a model, and what they cost in time."""

    times: UnitTimes

    @classmethod
    def of(cls, units: ModelUnits, times: UnitTimes) -> TimedUnits:
        """The same units with these times."""
        return cls.model_construct(**(dict(units) | {"times": times}))


def ms_per_unit(units: ModelUnits, group: UnitGroup) -> float:
    """Milliseconds a batch that go with one unit of a group; 0 where the group was not timed."""
    assert isinstance(units, TimedUnits)
    return next((each.ms / each.units for each in units.times.groups if each.group == group.name), 0.0)


def count_latency(units: ModelUnits, kept: Sequence[int]) -> float:
    """Milliseconds a batch when `kept[p]` units of part p stay, as predicted; never below 0.

    A sum over layers of what each takes with the inputs and outputs that it has left, as in NetAdapt (Yang et al.
    2018) and HALP (Shen et al. 2021); but no layer is timed alone. The time of a layer goes with its
    multiply-accumulates, at the rate at which the groups on its axes lost time with theirs: the mean of the rates of
    those that were timed.
    """
    assert isinstance(units, TimedUnits)
    rates, dense = _rates(units), kept_per_part(units)
    gone = ((_rate(units, rates, term), count_term(term, dense) - count_term(term, kept)) for term in units.macs)
    return max(0.0, units.times.dense_ms - sum(rate * macs for rate, macs in gone) / units.batch)


def _rates(units: TimedUnits) -> dict[int, float]:
    """Milliseconds a batch for each multiply-accumulate of an example, by the index of the group."""
    timed = {each.group: each.ms / each.macs for each in units.times.groups if each.macs}
    return {at: timed[group.name] for at, group in enumerate(units.groups) if group.name in timed}


def _rate(units: TimedUnits, rates: dict[int, float], term: Term) -> float:
    groups = {units.parts[part].group for axis in term.axes for part, _ in axis.parts}
    return mean([rates[group] for group in sorted(groups) if group in rates] or [0.0])
