"""How much each layer, or group of units, matters by itself: the metric against how much of it is gone, untrained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from secateur.record import Record
from secateur.units import UnitKind


class Curve(Record):
    """One layer or group, of which more and more is gone, while all others are whole."""

    name: str = Field(description="The weight; of units, the weight that gives them.")
    kind: Literal["weight"] | UnitKind
    size: int = Field(description="Number of weights, or of units.")
    taken: tuple[int, ...] = Field(description="How many of them are gone, ascending.")
    metric: tuple[float | None, ...] = Field(description="With so many gone. null: not finite.")

    @property
    def amounts(self) -> list[float]:
        """The shares that are gone."""
        return [count / self.size for count in self.taken]


class Sensitivity(Record):
    """All curves of a network, on the validation data, without any training."""

    dense: float = Field(description="The metric with nothing gone.")
    higher_is_better: bool
    curves: tuple[Curve, ...]

    def drops(self, curve: Curve) -> list[float]:
        """How much worse the metric is at each point of a curve, never better than dense; infinite where it is none."""
        sign = 1.0 if self.higher_is_better else -1.0
        values = (math.nan if value is None else value for value in curve.metric)
        return [max(0.0, sign * (self.dense - value)) if math.isfinite(value) else math.inf for value in values]


def counts(size: int, amounts: Sequence[float], most: int | None = None) -> list[int]:
    """How many of `size` are taken at these shares, each number once, none and more than `most` left out."""
    most = size if most is None else most
    return sorted({count for amount in amounts if 0 < (count := round(amount * size)) <= most})
