"""What a score is worth against what a unit costs, and the scores that an inspection stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

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

FREE = 1e-12
"""The price of what costs nothing: so low that its units go last, in their order."""


def priced(units: ModelUnits, prune: PruneUnits, scores: Scores) -> Scores:
    """Scores as a selection compares them: over the square root of what a row costs, random draws as they are.

    A score says what a group loses with a unit, the cost what is won. By the score alone the narrow groups stay whole
    however dear they are; by the score over the cost the dear ones are emptied. The root lies half-way.
    """
    if prune.importance.kind == "random":
        return scores
    prices = [max(FREE, sqrt(COSTS[prune.target.kind](group))) for group in units.groups]
    return [[score / price for score in row] for price, row in zip(prices, scores, strict=True)]


def stored_scores(units: ModelUnits, prune: PruneUnits) -> Scores:
    """The priced scores that the job begins with; those of alike units where none are stored."""
    return priced(units, prune, [_stored(group, prune.importance.kind) for group in units.groups])


def foreseen(units: ModelUnits, prune: PruneUnits) -> bool:
    """Whether a selection by the stored scores is that of the job, unless surgery has to leave some units alone."""
    return prune.rounds == 1 and prune.importance.kind in {"l1", "l2"} and units.scored


def _stored(group: UnitGroup, kind: str) -> Sequence[float]:
    scores = {"l1": group.l1, "l2": group.l2}.get(kind, ())
    if len(scores) == group.size:
        return scores
    spread = range(group.size)
    return [(place + 0.5) / group.size if kind == "random" else 1 / (group.size - place) for place in spread]
