"""The target of a job that takes nothing, and finds out how much each layer matters."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from secateur.record import Record

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Sensitivity(Record):
    """Each layer, or group of units, loses these amounts by itself, without training; nothing smaller is handed over.

    The metric is that of the validation data.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    amounts: tuple[Share, ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
        min_length=1,
        max_length=32,
        description="Shares of a layer's weights, or of a group's units, ascending. Each is evaluated once a layer.",
    )

    @property
    def amount(self) -> float:
        """The share that is gone in the end."""
        return 0.0

    @field_validator("amounts")
    @classmethod
    def _ascending(cls, amounts: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in pairwise(amounts)):
            raise ValueError("name each amount once, in ascending order")
        return amounts
