"""Weight pruning: single weights become zero, and tensors keep their shape."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from secateur.record import Record
from secateur.spec.importance import L1, WeightImportance
from secateur.spec.schedule import Scheduled
from secateur.spec.shares import Amount, Glob, kind_of


class Sparsity(Record):
    """The share of zeros among the chosen weights at the end."""

    kind: Literal["sparsity"] = "sparsity"
    amount: Amount


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
    scope: Literal["global", "layer", "erk", "row"] = Field(
        default="global",
        description="global: all chosen layers are ranked together; layer: each by itself, by the same amount; erk: "
        "each by an amount that follows from its shape (Evci et al. 2020); row: each row of each weight, along its "
        "first axis, by the same amount (as Sun et al. 2023 do).",
    )
    target: Sparsity
    layers: Layers = Layers()

    @field_validator("target", mode="before")
    @classmethod
    def _of_weights(cls, target: Any) -> Any:
        if kind_of(target) in {"units", "parameters", "macs"}:
            raise ValueError(
                f"the target {kind_of(target)!r} needs a granularity of channel, neuron, head or unit; "
                "with granularity weight the target is sparsity"
            )
        return target

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
