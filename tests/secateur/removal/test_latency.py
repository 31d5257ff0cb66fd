"""What is predicted from measured times: by hand, and never a time that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.removal import kept_per_part, priced, select
from secateur.removal.latency import GroupTime, TimedUnits, UnitTimes, count_latency, ms_per_unit
from secateur.units import ModelUnits
from tests.secateur.removal.chain import Chain, asked

SIZES = (8, 4)
"""Two groups, and 2 inputs and 3 outputs: 1 * 2 * 8, 2 * 8 * 4 and 3 * 4 * 3 products, of a batch of 3 at once."""


def timed(*groups: tuple[int, int, float], dense_ms: float = 10.0) -> TimedUnits:
    """The chain of SIZES with (units, macs, ms) of some of its groups, in their order."""
    rows = (
        GroupTime(group=f"layers.{at}.weight", units=units, macs=macs, ms=ms)
        for at, (units, macs, ms) in enumerate(groups)
    )
    times = UnitTimes(dense_ms=dense_ms, batch=4, device="cpu", threads=1, runs=5, groups=tuple(rows))
    return TimedUnits.of(ModelUnits.model_validate(bare()), times)


def bare() -> dict[str, object]:
    return Chain([[size] for size in SIZES]).units.model_dump(exclude={"times"})


def without(units: ModelUnits, first: int, second: int) -> float:
    """Predicted milliseconds without so many units of the groups."""
    gone = {"layers.0.weight": range(first), "layers.1.weight": range(second)}
    return count_latency(units, kept_per_part(units, gone))


@given(st.integers(0, 8))
def test_of_one_group_time_goes_in_proportion_to_its_units(gone: int) -> None:
    """Half of it, and 40 products with it, took 4 ms."""
    assert without(timed((4, 40, 4.0)), gone, 0) == pytest.approx(10 - gone)


@given(st.integers(0, 8), st.integers(0, 4))
def test_what_lies_between_two_groups_takes_the_mean_of_their_rates(first: int, second: int) -> None:
    """0.1 and 0.02 ms a product; alone they would take away 8 and 2 ms, of which they share 3.84."""
    units = timed((4, 40, 4.0), (2, 50, 1.0))
    left = 16 - 2 * (8 - first), 64 - 2 * (8 - first) * (4 - second), 36 - 9 * (4 - second)
    assert without(units, first, second) == pytest.approx(
        10 - 0.1 * left[0] - (0.1 + 0.02) / 2 * left[1] - 0.02 * left[2]
    )


def test_no_prediction_is_below_nothing() -> None:
    assert without(timed((4, 40, 4.0), (2, 50, 4.0), dense_ms=3.0), 7, 3) == 0.0


def test_groups_that_were_not_timed_or_take_no_time_cost_nothing_and_go_last() -> None:
    prune = asked("latency")
    scores = ([0.5] * 8, [0.25] * 4)
    for units in (timed((4, 40, 4.0)), timed((4, 40, 4.0), (2, 50, 0.0)), timed((4, 0, 4.0), (2, 50, 0.0))):
        first, second = priced(units, prune, scores)
        assert max(first) < min(second)
        assert [ms_per_unit(units, group) for group in units.groups] == [1.0, 0.0]
    assert without(timed((4, 40, 4.0)), 0, 4) == pytest.approx(10 - 0.1 * 64), "the products between them go"
    assert select(timed((4, 0, 4.0)), prune, scores, 0.5) == {}, "nothing that is counted can go"


def test_dear_units_go_before_cheap_ones_of_the_same_score() -> None:
    units, scores = timed((4, 40, 1.0), (2, 50, 2.0)), ([1.0] * 8, [1.0] * 4)
    first, second = priced(units, asked("latency"), scores)
    assert first[0] / second[0] == pytest.approx((1.0 / 0.25) ** 0.5)
