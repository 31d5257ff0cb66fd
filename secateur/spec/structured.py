"""Structured pruning: whole channels, neurons or heads are taken out, and tensors get smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from secateur.record import Record
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.importance import L2, UnitImportance
from secateur.spec.schedule import Scheduled
from secateur.spec.sensitivity import Sensitivity
from secateur.spec.shares import Amount, Glob, kind_of

Granularity = Literal["channel", "neuron", "head", "unit"]


OF_WEIGHTS = {
    "lamp": "lamp ranks single weights; ask for l2, which scores a unit by its share of its group as lamp does",
    "wanda": "wanda compares single weights that add up to the same output; ask for taylor, which sees data too",
    "movement": "movement is a signed number, and a unit is ranked by its share of its group, which a signed number "
    "has not; ask for taylor, which sums the same products of gradient and weight",
}
"""Why units are not ranked by what ranks weights, and by what instead."""


class UnitTarget(Record):
    """The share of the chosen units."""

    kind: Literal["units"] = "units"
    amount: Amount


class ParameterTarget(Record):
    """The share of the whole network's parameters."""

    kind: Literal["parameters"] = "parameters"
    amount: Amount


class MacTarget(Record):
    """The share of the whole network's multiply-accumulates."""

    kind: Literal["macs"] = "macs"
    amount: Amount


class LatencyTarget(Record):
    """The share of the time of a batch, as it is predicted; only a search makes it, for what it tries."""

    kind: Literal["latency"] = "latency"
    amount: Amount


StructuredTarget = Annotated[
    UnitTarget | ParameterTarget | MacTarget | MaxAccuracyDrop | Sensitivity, Field(discriminator="kind")
]


COUNTED: dict[str, type[UnitTarget | ParameterTarget | MacTarget | LatencyTarget]] = {
    "units": UnitTarget,
    "parameters": ParameterTarget,
    "macs": MacTarget,
    "latency": LatencyTarget,
}
"""The target by what it counts."""


class Groups(Record):
    """Which unit groups are pruned: those that are born on a weight that is included, and on none that is excluded."""

    include: tuple[Glob, ...] = Field(default=("*",), min_length=1, max_length=256)
    exclude: tuple[Glob, ...] = Field(default=(), max_length=256)


class PruneUnits(Scheduled):
    """Whole units are taken out."""

    granularity: Granularity = Field(description="Which kind of units; unit: all of them.")
    importance: UnitImportance = L2()
    scope: Literal["global", "layer", "sensitivity"] = Field(
        default="global",
        description="global: all chosen units are ranked together; layer: each group by itself; sensitivity: each "
        "group by itself, by an amount with which the metric is predicted to lose least, from measuring each alone on "
        "the validation data.",
    )
    target: StructuredTarget
    max_amount: float = Field(
        default=0.9, gt=0, le=1, allow_inf_nan=False, description="No group loses a larger share than this."
    )
    multiple_of: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="What stays of a channel or neuron group that loses any is a multiple of this, where max_amount "
        "allows (heads are left as they are).",
    )
    layers: Groups = Groups()

    @property
    def foreseeable(self) -> PruneUnits:
        """The same as `fixed`, with MACs in the place of time, of which nothing is known before the job measures it."""
        if self.counted != "latency":
            return self.fixed
        return self.model_copy(update={"target": MacTarget(amount=self.fixed.target.amount)})

    def taking(self, amount: float) -> Self:
        """The same, taking this share of what the target counts."""
        return self.model_copy(update={"target": COUNTED[self.counted](amount=amount)})

    @property
    def counted(self) -> str:
        """What the target counts, by its key in COUNTED."""
        match self.target:
            case MaxAccuracyDrop(minimise=counted):
                return counted
            case Sensitivity():
                return "units"
        return self.target.kind

    @field_validator("target", mode="before")
    @classmethod
    def _of_units(cls, target: Any) -> Any:
        if kind_of(target) in {"sparsity", "n_m"}:
            raise ValueError(
                f"{kind_of(target)} is a target of granularity weight; units are removed whole, so the target is "
                "units, parameters or macs"
            )
        return target

    @field_validator("importance", mode="before")
    @classmethod
    def _of_units_too(cls, importance: Any) -> Any:
        if kind_of(importance) in OF_WEIGHTS:
            raise ValueError(OF_WEIGHTS[kind_of(importance)])
        return importance

    @field_validator("layers", mode="before")
    @classmethod
    def _without_overrides(cls, layers: Any) -> Any:
        if isinstance(layers, Mapping) and layers.get("override"):
            raise ValueError("override is for granularity weight; leave groups out with exclude, or bound max_amount")
        return layers
