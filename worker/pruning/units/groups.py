"""Units that are born on one axis are a group: what a user sees, names, includes and excludes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secateur.units import UnitKind
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.births import Birth, births
from worker.pruning.units.lines import Lines, Vector, used_parameters

NO_GROUP = -1


@dataclass
class Group:
    """Units by their labels, in the order of the axis that they are born on."""

    name: str
    labels: Vector
    head: bool
    births: dict[str, str] = field(default_factory=dict)
    """Every weight that gives units of the group, and the operator that uses it."""
    rows: float = 0.0
    """How many rows of these weights one unit has, on average: one of each layer that writes to a stream, say."""

    @property
    def kind(self) -> UnitKind:
        """head: independent products of attention; channel: of a convolution or an embedding; else neuron."""
        if self.head:
            return "head"
        channels = any(operator.startswith(("conv", "embedding")) for operator in self.births.values())
        return "channel" if channels else "neuron"


class Groups:
    """All groups of a graph, in the order in which the graph gives birth to them.

    What no operator gives birth to (positional tables, class tokens, scales) follows, by parameter and axis.
    """

    def __init__(self, lab: Labelling, lines: Lines) -> None:
        self.all: list[Group] = []
        self.of: Vector = np.full(lab.count, NO_GROUP)
        """The index of each label's group; NO_GROUP for what is no unit."""
        self._unit = _units(lab, lines)
        self._used: Counter[str] = Counter()
        self._head = np.zeros(lab.count, dtype=bool)
        self._head[list(lab.heads)] = True
        for birth in births(lab, lines):
            self._add(birth.weight, birth)
        for name, birth in _leftovers(lab, lines):
            if self._new(birth.labels).size:
                self._add(name, birth)

    def _new(self, labels: Vector) -> Vector:
        found: Vector = labels[self._unit[labels] & (self.of[labels] == NO_GROUP)]
        return found

    def _add(self, name: str, birth: Birth) -> None:
        """Groups what has no group yet, heads apart from the rest, and notes the birth in every group it gives to."""
        new = self._new(birth.labels)
        for head in (True, False):
            labels = new[self._head[new] == head]
            if labels.size:
                self.of[labels] = len(self.all)
                self.all.append(Group(self._numbered(name), labels, head))
        of = self.of[birth.labels]
        for index in np.unique(of):
            group = self.all[index]
            if index != NO_GROUP and birth.weight not in group.births:
                group.births[birth.weight] = birth.operator
                group.rows += float(birth.rows[of == index].sum()) / len(group.labels)

    def _numbered(self, name: str) -> str:
        """The name, with a number from the second time on; names of parameters have neither `#` nor `:`."""
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}#{self._used[name]}"


def _units(lab: Labelling, lines: Lines) -> NDArray[np.bool_]:
    """Whether a label is a unit: not frozen, on some parameter, and with a number of its own on every axis.

    Where two unit axes lie in one and their labels do not come in all pairs, only the first can be removed.
    """
    unit = np.zeros(lab.count, dtype=bool)
    for node in used_parameters(lab.program):
        for side in lines.of(node):
            for line in side.lines:
                unit[line.labels] = True
    for side in lines.sides():
        for line in () if side.separable else side.lines[1:]:
            unit[line.labels] = False
    unit[0] = False
    return unit


def _leftovers(lab: Labelling, lines: Lines) -> Iterator[tuple[str, Birth]]:
    """Every axis of every parameter, `name:axis`, as if an operator without a name gave birth to its units."""
    for node, parameter in used_parameters(lab.program).items():
        for axis, side in enumerate(lines.of(node)):
            for line in side.lines:
                labels = line.ordered()
                yield f"{parameter}:{axis}", Birth(parameter, "", labels, line.count(labels))
