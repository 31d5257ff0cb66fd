"""The book of labels: which there are, which of them turned out to be one unit, and which are frozen and why."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx

from worker.pruning.labels.planes import Plane, Planes

Ids = npt.NDArray[np.int64]

FROZEN = 0
MANY = 4096
ROOM = 1 << 12
ALONE = "one unit fills the whole axis"


@dataclass(frozen=True)
class Freeze:
    """Labels that were frozen, where, and why."""

    node: fx.Node
    why: str
    labels: Ids


class Book:
    """Labels are handed out once for each key and keep their number; uniting is noted and solved once for each pass.

    The smallest label of a unit stands for all of it, so that 0, the frozen one, absorbs what it is united with.
    """

    def __init__(self) -> None:
        self.node: fx.Node
        """The node whose rule is at work: what is united or frozen now is put down to it."""
        self.undecided = False
        """Whether a choice between two readings was put off until labels are stable."""
        self.freezes: list[Freeze] = []
        self.edges: list[tuple[Ids, Ids, fx.Node]] = []
        self._size = 1
        self._canonical = np.zeros(ROOM, dtype=np.int64)
        self._born_soft = np.zeros(ROOM, dtype=bool)
        self._soft = np.zeros(ROOM, dtype=bool)
        self._blocks: dict[Hashable, tuple[int, int]] = {}
        self._solved = 0

    def __len__(self) -> int:
        return self._size

    def labels(self, key: Hashable, count: int, *, soft: bool = False) -> Tensor:
        """The labels of `key`, (count,), as they stand today; new ones when the key is new.

        Soft labels belong to axes that a literal made, by expanding or creating: they follow whatever they meet.
        """
        if key not in self._blocks:
            self._blocks[key] = (self._size, count)
            self._add(count, soft)
        start, length = self._blocks[key]
        assert length == count, (key, length, count)
        return torch.from_numpy(self._canonical[start : start + count].copy())

    def _add(self, count: int, soft: bool) -> None:
        start, end = self._size, self._size + count
        while end > len(self._canonical):
            self._canonical, self._born_soft, self._soft = (
                np.concatenate([known, np.zeros_like(known)])
                for known in (self._canonical, self._born_soft, self._soft)
            )
        self._canonical[start:end] = np.arange(start, end)
        self._born_soft[start:end] = self._soft[start:end] = soft
        self._size = end

    def knows(self, key: Hashable) -> bool:
        """Whether labels were handed out for a key."""
        return key in self._blocks

    def born(self, key: Hashable) -> Ids:
        """The labels of `key` as they were handed out, before any were united."""
        start, count = self._blocks[key]
        return np.arange(start, start + count)

    def soft(self, plane: Plane) -> bool:
        """Whether a plane's labels belong to a literal alone; judged by the first few, which are born together."""
        return bool(self._soft[plane.core.reshape(-1)[:8].numpy()].all())

    def unite(self, one: Plane | Tensor, other: Plane | Tensor) -> None:
        """Entry by entry, the labels of both are of one unit from now on; they broadcast."""
        first, second = torch.broadcast_tensors(_tensor(one), _tensor(other))  # type: ignore[no-untyped-call]
        for axis in range(first.dim()):
            if first.size(axis) > 1 and first.stride(axis) == 0 and second.stride(axis) == 0:
                first, second = first.narrow(axis, 0, 1), second.narrow(axis, 0, 1)
        differ = first != second
        if bool(differ.any()):
            a, b = first[differ].numpy(), second[differ].numpy()
            if a.size > MANY:
                pairs = np.unique(a * np.int64(1 << 31) + b)
                a, b = pairs >> 31, pairs & ((1 << 31) - 1)
            self.edges.append((a, b, self.node))

    def unite_along(self, plane: Plane, axes: frozenset[int]) -> Plane:
        """All that differ only along `axes` are of one unit; the plane with these axes cut down to one place."""
        first = plane.first(plane.axes & axes)
        self.unite(plane, first.tensor.expand(plane.tensor.shape))
        return first

    def freeze(self, plane: Plane | Tensor, why: str) -> None:
        """Nothing on the plane can be removed."""
        labels = plane.labels() if isinstance(plane, Plane) else torch.unique(plane)
        ids = labels[labels != FROZEN].numpy()
        if ids.size:
            self.freezes.append(Freeze(self.node, why, ids))
            self.edges.append((ids, np.zeros_like(ids), self.node))

    def settle(self, planes: Iterable[Plane]) -> Planes:
        """The planes that say something, each once. One unit alone on a whole value cannot go: it is frozen."""
        kept: list[Plane] = []
        for plane in planes:
            if not plane.axes:
                if plane.tensor.numel():
                    self.freeze(plane.core.reshape(-1)[:1], ALONE)
            elif bool(plane.core.any()) and not any(plane.equals(other) for other in kept):
                kept.append(plane)
        return tuple(kept)

    def solve(self) -> bool:
        """Makes one label of all that were united since the last time; whether any label changed."""
        new = self.edges[self._solved :]
        self._solved = len(self.edges)
        if not new:
            return False
        size = self._size
        everyone, canonical = np.arange(size), self._canonical[:size]
        united = everyone[canonical != everyone]
        a = np.concatenate([united, *(edge[0] for edge in new)])
        b = np.concatenate([canonical[united], *(edge[1] for edge in new)])
        count, component = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (size, size)), directed=False)
        smallest = np.full(count, size, dtype=np.int64)
        np.minimum.at(smallest, component, everyone)
        soft = np.ones(count, dtype=bool)
        np.logical_and.at(soft, component, self._born_soft[:size])
        changed = not np.array_equal(smallest[component], canonical)
        canonical[:], self._soft[:size] = smallest[component], soft[component]
        return changed


def _tensor(labels: Plane | Tensor) -> Tensor:
    return labels.tensor if isinstance(labels, Plane) else labels
