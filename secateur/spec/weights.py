"""Weight pruning: single weights become zero, and tensors keep their shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from secateur.record import Record
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.importance import L1, WeightImportance
from secateur.spec.n_m import KeepNOfM
from secateur.spec.schedule import Scheduled
from secateur.spec.sensitivity import Sensitivity
from secateur.spec.shares import Amount, Glob, kind_of


class Sparsity(Record):
    """The share of zeros among the chosen weights at the end."""

    kind: Literal["sparsity"] = "sparsity"
    amount: Amount


ALIKE = {
    "sensitivity": "sensitivity tries the same amounts in every layer, so override has none to change",
    "n_m": "n_m takes the same number from every block, so override has no amount to change",
}
"""Why no layer has an amount of its own, by the kind of the target."""

UNMOVED = {"macs": "fewer MACs", "latency": "less time"}
"""What zeros do not save, by what is to be made small."""

WeightTarget = Annotated[Sparsity | KeepNOfM | MaxAccuracyDrop | Sensitivity, Field(discriminator="kind")]


class Layers(Record):
    """Which of the prunable layers are pruned, and which of them by an amount of their own."""

    include: tuple[Glob, ...] = Field(default=("*",), min_length=1, max_length=256)
    exclude: tuple[Glob, ...] = Field(default=(), max_length=256)
    override: dict[Glob, Amount] = Field(
        default_factory=dict,
        max_length=1024,
        description="Pattern -> amount. These layers leave the global pool; the last pattern that matches wins.",
    )


class PruneWeights(Scheduled):
    """Single weights become zero."""

    granularity: Literal["weight"] = "weight"
    importance: WeightImportance = L1()
    scope: Literal["global", "layer", "erk", "row", "sensitivity"] = Field(
        default="global",
        description="global: all chosen layers are ranked together; layer: each by itself, by the same amount; erk: "
        "each by an amount that follows from its shape (Evci et al. 2020); row: each row of each weight, along its "
        "first axis, by the same amount (as Sun et al. 2023 do); sensitivity: each layer by itself, by an amount "
        "with which the metric is predicted to lose least, from measuring each alone on the validation data.",
    )
    target: WeightTarget
    layers: Layers = Layers()

    @model_validator(mode="before")
    @classmethod
    def _blocks_have_no_scope(cls, value: Any) -> Any:
        """The scope that says what happens to blocks, so that the spec in a report is true."""
        blocked = isinstance(value, Mapping) and kind_of(value.get("target")) == "n_m"
        return {"scope": "layer", **value} if blocked else value

    @field_validator("target", mode="before")
    @classmethod
    def _of_weights(cls, target: Any) -> Any:
        if kind_of(target) in {"units", "parameters", "macs"}:
            raise ValueError(
                f"the target {kind_of(target)!r} needs a granularity of channel, neuron, head or unit; "
                "with granularity weight the target is sparsity or n_m"
            )
        return target

    def taking(self, amount: float) -> Self:
        """The same, taking this share."""
        return self.model_copy(update={"target": Sparsity(amount=amount)})

    @field_validator("target")
    @classmethod
    def _zeros_save_no_macs(cls, target: WeightTarget) -> WeightTarget:
        if isinstance(target, MaxAccuracyDrop) and target.minimise in UNMOVED:
            raise ValueError(
                f"zeros do not make a network need {UNMOVED[target.minimise]}: minimise parameters, or ask for "
                "granularity channel, neuron, head or unit"
            )
        return target

    @field_validator("target")
    @classmethod
    def _of_blocks(cls, target: WeightTarget, info: ValidationInfo) -> WeightTarget:
        scope = info.data.get("scope", "layer")
        if isinstance(target, KeepNOfM) and scope != "layer":
            raise ValueError(
                f"n_m takes the same number from every block, so there is nothing to spread by scope {scope!r}: leave "
                "scope out"
            )
        return target

    @field_validator("layers")
    @classmethod
    def _amounts_to_change(cls, layers: Layers, info: ValidationInfo) -> Layers:
        why = ALIKE.get(kind_of(info.data.get("target")))
        if layers.override and why is not None:
            raise ValueError(f"{why}: leave layers out with exclude")
        return layers

    @field_validator("importance", mode="before")
    @classmethod
    def _on_weights(cls, importance: Any) -> Any:
        if kind_of(importance) == "l2":
            raise ValueError("l2 ranks whole units; single weights are ranked by l1 (for one weight both are the same)")
        if kind_of(importance) == "geometric_median":
            raise ValueError(
                "geometric_median compares whole units by their distance; single weights are ranked by l1, lamp, "
                "taylor, snip, wanda or movement"
            )
        return importance
