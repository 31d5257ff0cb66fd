"""The labels along each axis of each value of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from worker.program.program import Program
from worker.pruning.labels.labelling import Labelling
from worker.pruning.labels.planes import Plane

Vector = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Line:
    """The labels along one axis: what is at each index, (size,), and each label once, ascending."""

    entries: Vector
    labels: Vector
    places: Vector
    """Where in `labels` each entry is, (size,)."""
    counts: Vector
    """How often each label occurs."""

    @classmethod
    def of(cls, entries: Vector) -> Line:
        """The line of these labels."""
        labels, places, counts = np.unique(entries, return_inverse=True, return_counts=True)
        return cls(entries, labels, places, counts)

    def count(self, labels: Vector) -> Vector:
        """How often each of these labels, which are on the line, occurs."""
        counts: Vector = self.counts[np.searchsorted(self.labels, labels)]
        return counts

    def ordered(self) -> Vector:
        """Each label once, in the order in which they first occur."""
        _, first = np.unique(self.places, return_index=True)
        return self.labels[np.argsort(first)]


@dataclass(frozen=True)
class Side:
    """One axis of a value: its size and the lines along it. An index stays when its labels on all lines stay.

    Without a line nothing can be removed. Two unit axes that were flattened into one give two lines.
    """

    size: int
    lines: tuple[Line, ...] = ()

    @property
    def separable(self) -> bool:
        """Whether every pair of labels of two lines is there, each as often as the labels' own counts say.

        Then the number of indices that stay is a product over the lines.
        """
        if len(self.lines) < 2:
            return True
        if len(self.lines) > 2:
            return False
        one, other = self.lines
        pairs = one.places * len(other.labels) + other.places
        _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
        ours, theirs = one.counts[one.places[first]], other.counts[other.places[first]]
        whole = len(counts) == len(one.labels) * len(other.labels)
        return whole and bool((ours * theirs == counts * self.size).all())


Sides = tuple[Side, ...]


class Lines:
    """The sides of every value of a graph. Lines with equal entries are one object: each is looked at only once."""

    def __init__(self, lab: Labelling) -> None:
        self._known: dict[bytes, Line] = {}
        self._values: dict[fx.Node, tuple[Sides, ...]] = {}
        for node, value in lab.values.of.items():
            if isinstance(value, Tensor):
                self._values[node] = (self._read(lab.planes(node), value),)
            elif isinstance(value, tuple | list):
                pairs = zip(lab.items(node), value, strict=True)
                self._values[node] = tuple(self._read(planes, item) for planes, item in pairs)

    def of(self, node: fx.Node) -> Sides:
        """The sides of a tensor, one for each axis; of the first of several."""
        return self._values[node][0]

    def values(self, node: fx.Node) -> tuple[Sides, ...]:
        """The sides of all tensors that a node gives."""
        return self._values.get(node, ())

    def distinct(self) -> tuple[Line, ...]:
        """Every line that occurs anywhere, once, in the order of the graph."""
        return tuple(self._known.values())

    def sides(self) -> Iterator[Side]:
        """Every axis of every value."""
        for value in self._values.values():
            for sides in value:
                yield from sides

    def _read(self, planes: Iterable[Plane], value: object) -> Sides:
        if not isinstance(value, Tensor):
            return ()
        found: list[list[Line]] = [[] for _ in value.shape]
        for plane in planes:
            for axis in plane.axes:
                line = self._interned(plane.along(axis))
                if line not in found[axis]:
                    found[axis].append(line)
        return tuple(Side(size, tuple(lines)) for size, lines in zip(value.shape, found, strict=True))

    def _interned(self, labels: Tensor) -> Line:
        entries: Vector = np.ascontiguousarray(labels.numpy())
        key = entries.tobytes()
        if key not in self._known:
            self._known[key] = Line.of(entries)
        return self._known[key]


def used_parameters(program: Program) -> dict[fx.Node, str]:
    """The nodes that give a floating-point parameter to something, and the parameter's first name."""
    names = {id(parameter): name for name, parameter in program.named_parameters() if parameter.is_floating_point()}
    aliases = dict(program.module.named_parameters(remove_duplicate=False))
    found: dict[fx.Node, str] = {}
    for node in program.module.graph.find_nodes(op="get_attr"):
        first = names.get(id(aliases.get(str(node.target))))
        if first is not None and node.users:
            found[node] = first
    return found
