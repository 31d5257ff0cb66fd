"""What a unit owns: every entry of every parameter that goes when the unit goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.program.program import Program
from worker.pruning.labels.planes import lying
from worker.pruning.units.lines import Line, Lines, used_parameters

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

CHUNK = 1 << 19
"""Entries that are read at a time: in float64 they stay in cache for all their axes."""


@dataclass(frozen=True)
class Belongings:
    """A parameter and the line along each of its axes: an entry belongs to the labels that it has on them.

    Where a label lies on two axes (a weight from some units to the same units), an entry counts on the first alone.
    """

    tensor: Tensor
    lines: tuple[Line | None, ...]

    def sums(self, power: Callable[[Tensor], Tensor]) -> Iterator[tuple[Line, Reals]]:
        """For each axis, and each index of it, the sum of a power of the entries, in float64."""
        shape = self.tensor.shape
        sums = [torch.zeros(size, dtype=torch.float64, device=self.tensor.device) for size in shape]
        rows = max(1, CHUNK // max(1, self.tensor[:1].numel()))
        for start in range(0, shape[0], rows):
            powers = power(self.tensor[start : start + rows].detach().to(torch.float64))
            for axis, line in enumerate(self.lines):
                if line is not None:
                    fresh = self._fresh(powers, axis, start)
                    others = [other for other in range(len(shape)) if other != axis]
                    taken = slice(start, start + rows) if axis == 0 else slice(None)
                    sums[axis][taken] += fresh.sum(others) if others else fresh
        for line, total in zip(self.lines, sums, strict=True):
            if line is not None:
                yield line, total.cpu().numpy()

    def numbers(self, there: Flags) -> Iterator[tuple[Line, Reals]]:
        """For each axis, and each index of it, the number of entries whose labels are all there."""
        sides = list(zip(self.tensor.shape, self.lines, strict=True))
        lengths = [size if line is None else int(there[line.entries].sum()) for size, line in sides]
        for axis, line in enumerate(self.lines):
            if line is None:
                continue
            numbers = there[line.entries].astype(np.float64)
            for other, length in enumerate(lengths):
                if other != axis:
                    numbers *= length - (self._met(line, other, there) if other in self._shared[axis] else 0)
            yield line, numbers

    @cached_property
    def _shared(self) -> list[list[int]]:
        """For each axis those before it that have a label of it."""
        return [
            [other for other, line in enumerate(self.lines[:axis]) if line and ours and _meet(line, ours)]
            for axis, ours in enumerate(self.lines)
        ]

    def _met(self, line: Line, other: int, there: Flags) -> Reals:
        """How often the label at each index of a line lies on another axis, where it is there."""
        theirs = self.lines[other]
        assert theirs is not None
        places = np.searchsorted(theirs.labels, line.entries).clip(max=len(theirs.labels) - 1)
        met = theirs.labels[places] == line.entries
        return np.where(met & there[line.entries], theirs.counts[places], 0).astype(np.float64)

    def _fresh(self, powers: Tensor, axis: int, start: int) -> Tensor:
        """The same with zeros for entries that an axis before has counted for the same label."""
        for other in self._shared[axis]:
            powers = powers * (self._spread(axis, powers, start) != self._spread(other, powers, start))
        return powers

    def _spread(self, axis: int, chunk: Tensor, start: int) -> Tensor:
        """The labels along an axis, shaped so that they meet the entries of a chunk that begins at row `start`."""
        line = self.lines[axis]
        assert line is not None
        labels = torch.from_numpy(line.entries).to(chunk.device)
        first = start if axis == 0 else 0
        return lying(labels[first : first + chunk.shape[axis]], axis, chunk.dim())


def belongings(program: Program, lines: Lines, tensors: Mapping[str, Tensor]) -> Iterator[Belongings]:
    """Every distinct parameter that the graph uses, with its tensor in full size."""
    done: set[str] = set()
    for node, name in used_parameters(program).items():
        if name not in done:
            done.add(name)
            firsts = tuple(side.lines[0] if side.lines else None for side in lines.of(node))
            if any(firsts):
                yield Belongings(tensors[name], firsts)


def _meet(one: Line, other: Line) -> bool:
    both = np.intersect1d(one.labels, other.labels, assume_unique=True)
    return bool(both.any())
