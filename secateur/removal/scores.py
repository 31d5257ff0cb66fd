"""The scores that an inspection stored: what is known of a selection before the job runs."""

from __future__ import annotations

from secateur.removal.queue import Scores
from secateur.spec.structured import PruneUnits
from secateur.units import ModelUnits, UnitGroup


def stored_scores(units: ModelUnits, prune: PruneUnits) -> Scores:
    """The scores that the job begins with; evenly spread ones where they are drawn (random) or not stored."""
    return [_stored(group, prune.importance.kind) for group in units.groups]


def foreseen(units: ModelUnits, prune: PruneUnits) -> bool:
    """Whether the job will choose the same units as a selection by the stored scores."""
    return prune.rounds == 1 and prune.importance.kind in {"l1", "l2"} and units.scored


def _stored(group: UnitGroup, kind: str) -> tuple[float, ...]:
    scores = {"l1": group.l1, "l2": group.l2}.get(kind, ())
    return scores if len(scores) == group.size else tuple((place + 0.5) / group.size for place in range(group.size))
