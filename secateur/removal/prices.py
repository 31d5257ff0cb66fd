"""What a score is worth against what a unit costs, and the scores that an inspection stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf, isnan, sqrt

from secateur.removal.latency import ms_per_unit
from secateur.removal.queue import Gone, Scores
from secateur.sensitivity import Sensitivity
from secateur.spec.structured import PruneUnits
from secateur.spread import Prices, prices
from secateur.units import ModelUnits, UnitGroup

COSTS: dict[str, Callable[[ModelUnits, UnitGroup], float]] = {
    "units": lambda units, group: 1.0,
    "parameters": lambda units, group: group.parameters_per_unit / group.rows,
    "macs": lambda units, group: group.macs_per_unit / group.rows,
    "latency": lambda units, group: ms_per_unit(units, group) / group.rows,
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
    prices = [max(FREE, sqrt(COSTS[prune.counted](units, group))) for group in units.groups]
    return [[score / price for score in row] for price, row in zip(prices, scores, strict=True)]


def by_sensitivity(units: ModelUnits, prune: PruneUnits, scores: Scores, found: Sensitivity, gone: Gone) -> Scores:
    """The price of each unit when its turn comes within its group: what its going is predicted to cost the metric.

    A group weighs as much as all its units cost, by what the target counts. Groups that were not measured keep their
    scores, and so do units that are gone.
    """
    weights = {group.name: group.size * group.rows * COSTS[prune.counted](units, group) for group in units.groups}
    measured = [curve.name for curve in found.curves]
    total = sum(weights[name] for name in measured) or 1.0
    known = prices(found, {name: weights[name] / total for name in measured})
    return [
        _priced(row, known[group.name], gone.get(group.name, ())) if group.name in known else row
        for group, row in zip(units.groups, scores, strict=True)
    ]


def _priced(scores: Sequence[float], prices: Prices, gone: Collection[int]) -> list[float]:
    priced = list(scores)
    numbers = (inf if isnan(score) else score for score in scores)
    alive = sorted((score, index) for index, score in enumerate(numbers) if index not in gone)
    for place, (_, index) in enumerate(alive, start=len(gone)):
        priced[index] = prices.price((place + 0.5) / len(scores))
    return priced


def stored_scores(units: ModelUnits, prune: PruneUnits) -> Scores:
    """The priced scores that the job begins with; those of alike units where none are stored."""
    return priced(units, prune, [_stored(group, prune.importance.kind) for group in units.groups])


def foreseen(units: ModelUnits, prune: PruneUnits) -> bool:
    """Whether a selection by the stored scores is that of the job, unless surgery has to leave some units alone."""
    measured = prune.scope == "sensitivity"
    return prune.rounds == 1 and prune.importance.kind in {"l1", "l2"} and units.scored and not measured


def _stored(group: UnitGroup, kind: str) -> Sequence[float]:
    scores = {"l1": group.l1, "l2": group.l2}.get(kind, ())
    if len(scores) == group.size:
        return scores
    spread = range(group.size)
    return [(place + 0.5) / group.size if kind == "random" else 1 / (group.size - place) for place in spread]
