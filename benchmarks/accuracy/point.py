"""How much is taken away."""

from __future__ import annotations

from typing import Any, Literal

from secateur.record import Record

Kind = Literal["sparsity", "macs"]


class Point(Record):
    """An operating point: the share of the weights that is set to zero, or of the MACs that is cut away."""

    kind: Kind
    amount: float

    def __str__(self) -> str:
        return f"{self.amount:.0%} weights" if self.kind == "sparsity" else f"{1 / (1 - self.amount):.0f}x fewer MACs"

    @property
    def key(self) -> str:
        """Its name in a file name."""
        return f"{self.kind}-{100 * self.amount:.0f}"

    @property
    def prune(self) -> dict[str, Any]:
        """What a job's `prune` says of it."""
        granularity = "weight" if self.kind == "sparsity" else "unit"
        return {"granularity": granularity, "target": self.model_dump()}


WEIGHTS = tuple(Point(kind="sparsity", amount=amount) for amount in (0.8, 0.9, 0.95, 0.98))
UNITS = tuple(Point(kind="macs", amount=amount) for amount in (0.5, 0.75))
POINTS = (*WEIGHTS, *UNITS)

AHEAD = (*WEIGHTS[2:], UNITS[1])
"""Where ours has to be better than the best of the others, and not merely as good."""
