"""From scores to ranks, and the scores that an inspection stored: what is known of a selection before the job runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt

from secateur.removal.queue import Scores
from secateur.spec.structured import PruneUnits
from secateur.units import ModelUnits, UnitGroup

COSTS: dict[str, Callable[[UnitGroup], float]] = {
    "units": lambda group: 1.0,
    "parameters": lambda group: group.parameters_per_unit / group.rows,
    "macs": lambda group: group.macs_per_unit / group.rows,
}
"""What one row of a unit costs, by what the target counts; where units are counted, each is worth as much as another.

By the row, because what many layers write to costs all of them something, and is missed by all of them.
"""


def ranked(units: ModelUnits, prune: PruneUnits, scores: Scores) -> Scores:
    """What a selection compares: scores over the square root of what a row costs, random draws as they are.

    A score says what a group loses with a unit, the cost what is won. By the score alone the narrow groups stay whole
    however dear they are; by the score over the cost the dear ones are emptied. The root lies half-way.
    """
    if prune.importance.kind == "random":
        return scores
    prices = [sqrt(COSTS[prune.target.kind](group)) for group in units.groups]
    return [_over(price, row) for price, row in zip(prices, scores, strict=True)]


def _over(price: float, scores: Sequence[float]) -> list[float]:
    """What costs nothing goes last."""
    return [score / price if price else inf for score in scores]


def stored_ranks(units: ModelUnits, prune: PruneUnits) -> Scores:
    """The ranks that the job begins with; evenly spread ones where they are drawn (random) or not stored."""
    return ranked(units, prune, [_stored(group, prune.importance.kind) for group in units.groups])


def foreseen(units: ModelUnits, prune: PruneUnits) -> bool:
    """Whether the job will choose the same units as a selection by the stored scores."""
    return prune.rounds == 1 and prune.importance.kind in {"l1", "l2"} and units.scored


def _stored(group: UnitGroup, kind: str) -> tuple[float, ...]:
    scores = {"l1": group.l1, "l2": group.l2}.get(kind, ())
    return scores if len(scores) == group.size else tuple((place + 0.5) / group.size for place in range(group.size))
