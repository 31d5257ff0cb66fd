"""A plane says of every entry of a value to which unit it belongs, for one kind of unit that crosses the value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


class Plane:
    """Labels in the shape of a value: int64, 0 for what is frozen, with stride 0 along each axis they do not vary on.

    A value has one plane for each kind of unit that crosses it; an entry stays when all its labels stay.
    """

    __slots__ = ("axes", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = _compressed(tensor)
        self.axes = varying(self.tensor)

    @property
    def core(self) -> Tensor:
        """The labels with the axes that they do not vary on cut down to one entry."""
        return self.tensor[
            tuple(slice(None) if axis in self.axes else slice(0, 1) for axis in range(self.tensor.dim()))
        ]

    def along(self, axis: int) -> Tensor:
        """The labels along one axis, (size,), at the first place of every other."""
        line: Tensor = self.tensor[tuple(slice(None) if axis == other else 0 for other in range(self.tensor.dim()))]
        return line

    def labels(self) -> Tensor:
        """Every label that is on the plane, once, ascending."""
        once: Tensor = torch.unique(self.core)
        return once

    def first(self, axes: Iterable[int]) -> Plane:
        """The plane with each of `axes` cut down to its first place."""
        tensor = self.tensor
        for axis in axes:
            tensor = tensor.narrow(axis, 0, 1)
        return Plane(tensor)

    def expand(self, shape: tuple[int, ...]) -> Plane:
        """The plane repeated along axes of size 1."""
        return Plane(self.tensor.expand(shape))

    def reshape(self, shape: tuple[int, ...]) -> Plane:
        """The same labels in the same order, in another shape; only axes that vary are ever written out."""
        cut, sizes = list(self.tensor.shape), list(shape)
        for ours, theirs in _blocks(self.tensor.shape, shape):
            if not self.axes.intersection(ours):
                for axis in ours:
                    cut[axis] = 1
                for axis in theirs:
                    sizes[axis] = 1
        core = self.tensor[tuple(slice(0, size) for size in cut)]
        return Plane(core.reshape(sizes).expand(shape))

    def equals(self, other: Plane) -> bool:
        """Whether two planes of one space vary along the same axes and say the same there."""
        if self.axes != other.axes:
            return False
        ours, theirs = self.core, other.core
        return ours.shape == theirs.shape and torch.equal(ours, theirs)


Planes = tuple[Plane, ...]


def along_axis(labels: Tensor, axis: int, shape: tuple[int, ...]) -> Plane:
    """The plane of `shape` whose entries at index i of `axis` have the label `labels[i]`."""
    return Plane(lying(labels, axis, len(shape)).expand(shape))


def lying(vector: Tensor, axis: int, rank: int) -> Tensor:
    """A vector along one axis of `rank`, the others of size 1: what broadcasts to a value's shape."""
    return vector.view([-1 if axis == other else 1 for other in range(rank)])


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[range, range]]:
    """The shortest runs of axes of two shapes that hold as many entries as each other."""
    start, end = [0, 0], [0, 0]
    sizes = (before, after)
    while any(end[side] < len(sizes[side]) for side in (0, 1)):
        held = [1, 1]
        start = list(end)
        while end == start or held[0] != held[1]:
            side = 0 if (held[0] <= held[1] and end[0] < len(before)) or end[1] == len(after) else 1
            held[side] *= sizes[side][end[side]]
            end[side] += 1
        yield range(start[0], end[0]), range(start[1], end[1])


def varying(tensor: Tensor) -> frozenset[int]:
    """The axes along which memory moves."""
    sizes, strides = tensor.shape, tensor.stride()
    return frozenset(axis for axis in range(len(sizes)) if sizes[axis] > 1 and strides[axis] != 0)


def _compressed(tensor: Tensor) -> Tensor:
    """The same labels with stride 0 along every axis on which they are constant.

    Two neighbours are compared before the whole axis is: most axes that vary do so from the first step.
    """
    core = tensor
    for axis in range(tensor.dim()):
        if tensor.stride(axis) == 0 and tensor.size(axis) > 1:
            core = core.narrow(axis, 0, 1)
    constant = False
    for axis in sorted(varying(core)):
        if torch.equal(core.select(axis, 0), core.select(axis, 1)):
            first = core.narrow(axis, 0, 1)
            if core.size(axis) == 2 or bool((core == first).all()):
                core, constant = first, True
    return core.expand(tensor.shape) if constant else tensor
