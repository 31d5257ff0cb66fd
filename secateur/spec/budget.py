"""The target of a search: not how much goes, but how much worse the network may become."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from secateur.record import Record

Minimise = Literal["parameters", "macs", "latency"]


class MaxAccuracyDrop(Record):
    """The smallest network that is at most so much worse than the dense one, on the validation data."""

    kind: Literal["max_accuracy_drop"] = "max_accuracy_drop"
    amount: float = Field(
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="How much worse the metric may become. Of one that is a share (accuracy, agreement, F1, IoU): in "
        "absolute terms, 0.01 is one point. Of any other (rmse, perplexity): relative to the dense network's.",
    )
    minimise: Minimise = Field(
        default="parameters",
        description="What makes a network small. Zeros do not make a network need fewer MACs or less time: those are "
        "for units. latency: the time of a batch on the worker's device, predicted from a measurement of each group.",
    )
    most: float = Field(
        default=0.99, gt=0, lt=1, allow_inf_nan=False, description="The largest share of that which is tried."
    )
