"""One network under one seed, pruned to one point by one method; and what came out."""

from __future__ import annotations

from typing import Any, Literal

from benchmarks.accuracy.point import Point
from secateur.record import Record

OURS = "ours"


class Cell(Record):
    """`method` is a name of `recipes.PEERS`, or ours; `variant` says which of its recipes; `terms` is that recipe."""

    network: str
    seed: int
    point: Point
    method: str
    variant: str
    terms: dict[str, Any]
    on: Literal["choice", "test"]

    def __str__(self) -> str:
        return f"{self.network} {self.point} seed {self.seed} {self.method} ({self.variant})"


class Finding(Record):
    """Accuracy on the images that report, dense and in the end; the share that is left of `total` weights or MACs.

    `steps` are all updates of the weights since the dense network.
    """

    dense: float
    accuracy: float
    left: float
    total: int
    steps: int


class Outcome(Finding):
    """What is kept of a cell: from the trained dense network to the accuracy it took `wall_s`."""

    wall_s: float
