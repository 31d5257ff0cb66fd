"""The units that may go, in the order in which they go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, isnan

from secateur.removal.counts import kept_per_part, part_of
from secateur.spec.structured import PruneUnits
from secateur.units import ModelUnits

Scores = Sequence[Sequence[float]]
"""Of every group (chosen or not), in the order of the record, one number a unit: the lower, the sooner it goes."""

Gone = Mapping[str, Collection[int]]
"""The indices of removed units by the name of their group."""

Rank = tuple[float, int, int]
"""(score, group, index): compared as it is, so that of equal scores the lower group and index go first."""

ROUNDING = 1e-9


@dataclass(frozen=True)
class Queue:
    """Who goes next, when some are gone already; the order is fixed, so a longer removal contains a shorter one.

    `members` holds the units of each chosen group that may go, the first to go first; `turns` the group of each step;
    `alive` how many of each chosen group are there now.
    """

    members: Mapping[int, Sequence[int]]
    turns: Sequence[int]
    alive: Mapping[int, int]


def line_up(units: ModelUnits, prune: PruneUnits, chosen: Sequence[int], scores: Scores, gone: Gone) -> Queue:
    """The units of the chosen groups that may go.

    What stays whatever is asked: the best unit of each group, the best one of each occupied set that holds nothing else
    that stays, and of each group what max_amount leaves.
    """
    alive = {group: _alive(units, group, scores[group], gone) for group in chosen}
    stay = _protected(units, alive, kept_per_part(units, gone))
    members: dict[int, list[int]] = {}
    steps: list[tuple[float, ...]] = []
    for group, ranks in alive.items():
        size, removed = units.groups[group].size, units.groups[group].size - len(ranks)
        quota = max(0, floor(prune.max_amount * size + ROUNDING) - removed)
        going = [rank for rank in ranks if rank not in stay][:quota]
        members[group] = [rank[2] for rank in going]
        steps += [ORDERS[prune.scope]((removed + place + 0.5) / size, rank) for place, rank in enumerate(going)]
    return Queue(members, [int(step[-2]) for step in sorted(steps)], {group: len(alive[group]) for group in chosen})


def _together(share: float, rank: Rank) -> tuple[float, ...]:
    return rank


def _alike(share: float, rank: Rank) -> tuple[float, ...]:
    return (share, *rank)


ORDERS: dict[str, Callable[[float, Rank], tuple[float, ...]]] = {
    "global": _together,
    "layer": _alike,
    "sensitivity": _together,
}
"""Every scope of the spec: (share of the group that is gone with this unit, its rank) -> what the steps are sorted by.

By the share first, all groups lose the same one, to half a unit. Of sensitivity the scores are prices, which all groups
have in common: see `prices.by_sensitivity`.
"""


def _alive(units: ModelUnits, at: int, scores: Sequence[float], gone: Gone) -> list[Rank]:
    """What is left of a group, the first to go first; a score that is no number counts as the highest."""
    lost = set(gone.get(units.groups[at].name, ()))
    numbers = (inf if isnan(score) else score for score in scores)
    return sorted((score, at, index) for index, score in enumerate(numbers) if index not in lost)


def _protected(units: ModelUnits, alive: Mapping[int, Sequence[Rank]], kept: Sequence[int]) -> set[Rank]:
    best: dict[int, Rank] = {}
    for group, ranks in alive.items():
        best |= {part_of(units.groups[group], rank[2]): rank for rank in ranks}  # ascending: the best one comes last
    stay = {ranks[-1] for ranks in alive.values() if ranks}
    held = {index for index, part in enumerate(units.parts) if part.group not in alive and kept[index]}
    held |= {part_of(units.groups[rank[1]], rank[2]) for rank in stay}
    for parts in units.occupied:
        candidates = [part for part in parts if part in best]
        if candidates and held.isdisjoint(parts):
            last = max(candidates, key=best.__getitem__)
            stay.add(best[last])
            held.add(last)
    return stay
