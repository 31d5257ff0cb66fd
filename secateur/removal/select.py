"""How many units go, and which: the end of the queue that comes closest to what is asked."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from math import floor

from secateur.errors import TargetUnreachable
from secateur.removal.counts import count_macs, count_parameters, kept_per_part, parts_of
from secateur.removal.groups import choose_groups
from secateur.removal.latency import count_latency
from secateur.removal.queue import Gone, Scores, line_up
from secateur.spec.structured import PruneUnits
from secateur.units import ModelUnits

COUNTS: dict[str, Callable[[ModelUnits, Sequence[int]], float]] = {
    "parameters": count_parameters,
    "macs": count_macs,
    "latency": count_latency,
}
"""What a target counts, of the whole network, by its kind; `units` counts the chosen groups alone."""

TOLERANCE = 0.01
"""Of the dense count: as far as a target may be missed before that is worth a word."""


def select(
    units: ModelUnits, prune: PruneUnits, scores: Scores, amount: float, removed: Gone | None = None
) -> dict[str, frozenset[int]]:
    """All units that are gone once `amount` of the dense network is: those of `removed` and the next ones.

    Units go in ascending order of score (scope `global`) or so that every group loses the same share (`layer`), ties to
    the lower group and index, until what is left of the target's count is closest to (1 - amount) of the dense one. So
    a larger amount takes the same units and more. With `multiple_of`, what stays of each channel or neuron group is
    rounded to the nearest multiple that can be had; a group that loses nothing keeps its size.

    Where the amount is out of reach as much goes as can: `require_reachable` tells before.

    Args:
        scores: Of every group of `units`, one number a unit.
        amount: The share to be gone after this round, counted from the dense network.
        removed: What is gone already, by the name of its group; it stays gone.

    Raises:
        NothingPrunable, NothingMatches: The spec chooses no group of this model.
    """
    selection = _Selection(units, prune, scores, removed or {})
    return selection.gone(selection.length(amount))


def require_reachable(units: ModelUnits, prune: PruneUnits, scores: Scores) -> None:
    """Do nothing when the target can be reached, to TOLERANCE of the dense count.

    Raises:
        TargetUnreachable: max_amount, multiple_of or what has to stay forbid it; the message says what can be reached.
        NothingPrunable, NothingMatches: The spec chooses no group of this model.
    """
    selection = _Selection(units, prune, scores, {})
    target, most = prune.target, selection.reach()
    if target.amount > most + TOLERANCE:
        reachable = floor(1e4 * most) / 1e4
        raise TargetUnreachable(
            f"An amount of {target.amount:g} of the {target.kind} is out of reach: with granularity "
            f"{prune.granularity}, max_amount {prune.max_amount:g} and multiple_of {prune.multiple_of} at most "
            f"{reachable:g} can be taken from the chosen groups.",
            remedy="Ask for less, raise max_amount, lower multiple_of, or choose more groups.",
            reachable=reachable,
        )


def may_go(units: ModelUnits, prune: PruneUnits, scores: Scores) -> dict[str, Sequence[int]]:
    """Those of the chosen groups' units that may go from the upload, the first to go first, by the names of groups."""
    queue = line_up(units, prune, choose_groups(units, prune), scores, {})
    return {units.groups[at].name: members for at, members in queue.members.items()}


def share_gone(units: ModelUnits, prune: PruneUnits, gone: Gone) -> float:
    """The share of what the target counts that is gone with these units; 0 where there is nothing to count."""
    chosen = choose_groups(units, prune)
    dense, left = (_count(units, prune, chosen, kept_per_part(units, each)) for each in ({}, gone))
    return 1 - left / dense if dense else 0.0


def _count(units: ModelUnits, prune: PruneUnits, chosen: Sequence[int], kept: Sequence[int]) -> float:
    if prune.counted == "units":
        groups = set(chosen)
        return sum(kept[index] for index, part in enumerate(units.parts) if part.group in groups)
    return COUNTS[prune.counted](units, kept)


class _Selection:
    """What is left after each number of steps of the queue."""

    def __init__(self, units: ModelUnits, prune: PruneUnits, scores: Scores, removed: Gone) -> None:
        self.units, self.prune, self.removed = units, prune, removed
        self.chosen = choose_groups(units, prune)
        self.queue = line_up(units, prune, self.chosen, scores, removed)
        self.start = kept_per_part(units, removed)
        self.dense = self._count([part.size for part in units.parts])
        self.least = self._left(len(self.queue.turns))

    def length(self, amount: float) -> int:
        """The number of steps whose count comes closest to the target; of two as close, the one that reaches it."""
        wanted = max(self.least, self.dense - amount * self.dense)
        end = len(self.queue.turns)
        reached = bisect_left(range(end), True, key=lambda steps: self._left(steps) <= wanted)
        short = max(0, reached - 1)
        return short if abs(self._left(short) - wanted) < abs(self._left(reached) - wanted) else reached

    def reach(self) -> float:
        """The largest share that can go."""
        return 1 - self.least / self.dense if self.dense else 0.0

    def gone(self, steps: int) -> dict[str, frozenset[int]]:
        """Everything that is gone after so many steps, by the name of its group."""
        taken = self._taken(steps)
        gone = {name: frozenset(indices) for name, indices in self.removed.items()}
        for at, number in taken.items():
            name = self.units.groups[at].name
            gone[name] = gone.get(name, frozenset()) | frozenset(self.queue.members[at][:number])
        return {name: indices for name, indices in gone.items() if indices}

    def _left(self, steps: int) -> float:
        kept = list(self.start)
        for at, number in self._taken(steps).items():
            for part, lost in parts_of(self.units.groups[at], self.queue.members[at][:number]).items():
                kept[part] -= lost
        return self._count(kept)

    def _count(self, kept: Sequence[int]) -> float:
        return _count(self.units, self.prune, self.chosen, kept)

    def _taken(self, steps: int) -> dict[int, int]:
        """How many members of each chosen group are gone after so many steps of the queue."""
        lost = Counter(self.queue.turns[:steps])
        return {at: self._rounded(at, lost[at]) for at in self.chosen}

    def _rounded(self, at: int, lost: int) -> int:
        """The number nearest to `lost` that leaves a multiple of `multiple_of`, or all; ties to the larger loss."""
        group, step = self.units.groups[at], self.prune.multiple_of
        alive = self.queue.alive[at]
        if lost == 0 or step == 1 or group.kind == "head":
            return lost
        kept = alive - lost
        below = kept // step * step
        above = min(below + step, alive)
        possible = below >= alive - len(self.queue.members[at])
        return alive - (below if possible and kept - below <= above - kept else above)
