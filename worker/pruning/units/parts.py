"""Units of one group that cost the same: they occur equally often on every axis of every value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from secateur.units import Axis, Part, Term
from worker.pruning.units.groups import NO_GROUP, Groups
from worker.pruning.units.lines import Line, Lines, Side, Vector

NO_PART = -1


class Parts:
    """The parts of all groups, and the length of every axis in terms of them.

    Two units are told apart by a sum over all lines of (how often the unit occurs) x (a random 64-bit number of the
    line): for 100,000 units, the chance that any two sums agree by accident is below 1e-9.
    """

    def __init__(self, groups: Groups, lines: Lines) -> None:
        signatures = _signatures(groups, lines.distinct())
        self.of: Vector = np.full(len(groups.of), NO_PART)
        """The index of each label's part; NO_PART for what is no unit."""
        self.all: list[Part] = []
        for index, group in enumerate(groups.all):
            _, first, inverse, sizes = np.unique(
                signatures[group.labels], return_index=True, return_inverse=True, return_counts=True
            )
            rank = np.argsort(np.argsort(first))
            self.of[group.labels] = len(self.all) + rank[inverse]
            self.all += [Part(group=index, size=int(sizes[part])) for part in np.argsort(first)]
        self._axes: dict[Line, Axis] = {}

    def length(self, side: Side) -> Term:
        """The length of an axis when so many units of each part stay.

        Of two unit axes flattened into one, each pair of labels occurs (count x count / size) times: the length is a
        product, too.
        """
        lines = [line for line in side.lines if self.axis(line).parts]
        if len(lines) < 2:
            return Term(axes=(self.axis(lines[0]),)) if lines else Term(factor=side.size)
        divisors = [int(np.gcd.reduce(line.counts)) for line in lines]
        axes = tuple(_divided(self.axis(line), by) for line, by in zip(lines, divisors, strict=True))
        return Term(factor=math.prod(divisors) // side.size, axes=axes)

    def axis(self, line: Line) -> Axis:
        """The number of entries of a line that stay."""
        if line not in self._axes:
            parts = self.of[line.labels]
            known, first = np.unique(parts, return_index=True)
            pairs = [(int(part), int(line.counts[place])) for part, place in zip(known, first, strict=True)]
            fixed = int(line.counts[parts == NO_PART].sum())
            self._axes[line] = Axis(fixed=fixed, parts=tuple(pair for pair in pairs if pair[0] != NO_PART))
        return self._axes[line]

    def occupied(self, lines: Iterable[Line]) -> tuple[tuple[int, ...], ...]:
        """The smallest sets of parts of which a unit has to stay, else some axis would be empty.

        Without those that follow from keeping one unit of each group.
        """
        axes = [self.axis(line) for line in lines]
        needed = {frozenset(part for part, _ in axis.parts) for axis in axes if axis.parts and not axis.fixed}
        groups: dict[int, set[int]] = {}
        for index, part in enumerate(self.all):
            groups.setdefault(part.group, set()).add(index)
        found: list[frozenset[int]] = []
        for parts in sorted(needed, key=lambda parts: (len(parts), sorted(parts))):
            follows = any(groups[self.all[part].group] <= parts for part in parts)
            if not follows and not any(other <= parts for other in found):
                found.append(parts)
        return tuple(tuple(sorted(parts)) for parts in found)


def _signatures(groups: Groups, lines: Iterable[Line]) -> NDArray[np.uint64]:
    generator = np.random.default_rng(0)
    signatures = np.zeros(len(groups.of), dtype=np.uint64)
    for line in lines:
        if (groups.of[line.labels] != NO_GROUP).any():
            number = generator.integers(1 << 63, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            signatures[line.labels] += line.counts.astype(np.uint64) * number
    return signatures


def _divided(axis: Axis, by: int) -> Axis:
    return Axis(fixed=axis.fixed // by, parts=tuple((part, times // by) for part, times in axis.parts))
