"""The units of a program as the record that an inspection keeps: enough to forecast a selection without torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secateur.units import SCORED_UNITS, FrozenNode, ModelUnits, UnitGroup
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.costs import Sum, macs, parameters
from worker.pruning.units.groups import NO_GROUP
from worker.pruning.units.scores import Kind, score
from worker.pruning.units.units import Units


def describe(units: Units, lab: Labelling) -> ModelUnits:
    """What the units are and cost, and the scores of the weights as they are, unless there are over SCORED_UNITS."""
    numbers = tuple(parameters(lab, units.lines, units.parts).values())
    products = macs(lab, units.lines, units.parts)
    sizes = [part.size for part in units.parts.all]
    weights = Sum(numbers, sizes)
    return ModelUnits(
        groups=_Groups(units, lab, weights, Sum(products, sizes)).records(),
        parts=tuple(units.parts.all),
        parameters=numbers,
        macs=products,
        batch=lab.values.batch,
        occupied=units.parts.occupied(units.lines.distinct()),
        frozen=tuple(
            FrozenNode(node=found.node, why=found.why, parameters=found.parameters, way=found.way)
            for found in lab.frozen
        ),
        prunable_share=weights.lost(dict(enumerate(sizes))) / max(1, weights.whole()),
    )


@dataclass(frozen=True)
class _Groups:
    """The records of all groups."""

    units: Units
    lab: Labelling
    weights: Sum
    products: Sum

    def records(self) -> tuple[UnitGroup, ...]:
        l1, l2 = self._scores("l1"), self._scores("l2")
        return tuple(self._record(index, l1[index], l2[index]) for index in range(len(self.units.groups)))

    def _record(self, index: int, l1: list[float], l2: list[float]) -> UnitGroup:
        group = self.units.groups[index]
        parts = self._parts[index]
        of = self.units.parts.of[group.labels].tolist()
        everything = {part: self.units.parts.all[part].size for part in parts}
        return UnitGroup(
            name=group.name,
            kind=group.kind,
            size=len(group.labels),
            births=tuple(group.births),
            tensors=tuple(self._tensors[index]),
            share=self.weights.lost(everything) / max(1, self.weights.whole()),
            parameters_per_unit=_average(self.weights, everything),
            macs_per_unit=_average(self.products, everything) / self.lab.values.batch,
            part=tuple(parts) if len(parts) == 1 else tuple(of),
            l1=tuple(l1),
            l2=tuple(l2),
        )

    def _scores(self, kind: Kind) -> list[list[float]]:
        if sum(len(group.labels) for group in self.units.groups) > SCORED_UNITS:
            return [[] for _ in self.units.groups]
        return score(self.units, self.lab, kind)

    @cached_property
    def _parts(self) -> dict[int, list[int]]:
        found = defaultdict(list)
        for index, part in enumerate(self.units.parts.all):
            found[part.group].append(index)
        return found

    @cached_property
    def _tensors(self) -> dict[int, list[str]]:
        """`name:axis` of every parameter and buffer that carries units of a group."""
        found: dict[int, list[str]] = defaultdict(list)
        for node in self.lab.program.module.graph.find_nodes(op="get_attr"):
            for axis, side in enumerate(self.units.lines.of(node)):
                for line in side.lines:
                    for index in np.unique(self.units.group_of[line.labels]):
                        if index != NO_GROUP:
                            found[int(index)].append(f"{node.target}:{axis}")
        return found


def _average(costs: Sum, sizes: dict[int, int]) -> float:
    """What goes with one unit, over all units of some parts."""
    return sum(size * costs.lost({part: 1}) for part, size in sizes.items()) / sum(sizes.values())
