"""The units of a program as the record that an inspection keeps: enough to forecast a selection without torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from secateur.units import SCORED_UNITS, ModelUnits, Term, UnitGroup
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.costs import lost, macs, parameters, whole
from worker.pruning.units.groups import NO_GROUP, Group
from worker.pruning.units.scores import Kind, score
from worker.pruning.units.units import Units


def describe(units: Units, lab: Labelling) -> ModelUnits:
    """What the units are and cost, and the scores of the weights as they are, unless there are over SCORED_UNITS."""
    numbers = tuple(parameters(lab, units.lines, units.parts).values())
    products = macs(lab, units.lines, units.parts)
    sizes = [part.size for part in units.parts.all]
    everything = lost(numbers, sizes, gone=sizes, owners=[0] * len(sizes))[0]
    return ModelUnits(
        groups=_Groups(units, lab, numbers, products).records(),
        parts=tuple(units.parts.all),
        parameters=numbers,
        macs=products,
        batch=lab.values.batch,
        occupied=units.parts.occupied(units.lines.distinct()),
        frozen=lab.frozen,
        prunable_share=everything / max(1, whole(numbers, sizes)),
    )


@dataclass(frozen=True)
class _Groups:
    """The records of all groups."""

    units: Units
    lab: Labelling
    numbers: tuple[Term, ...]
    products: tuple[Term, ...]

    def records(self) -> tuple[UnitGroup, ...]:
        sizes = [part.size for part in self.units.parts.all]
        shares = lost(self.numbers, sizes, gone=sizes, owners=[part.group for part in self.units.parts.all])
        total = max(1, whole(self.numbers, sizes))
        weights, macs = self._per_unit(self.numbers), self._per_unit(self.products)
        l1, l2, tensors = self._scores("l1"), self._scores("l2"), self._tensors()
        return tuple(
            UnitGroup(
                name=group.name,
                kind=group.kind,
                size=len(group.labels),
                births=tuple(group.births),
                tensors=tuple(tensors[index]),
                share=shares[index] / total,
                parameters_per_unit=weights[index],
                macs_per_unit=macs[index] / self.lab.values.batch,
                rows=max(1.0, group.rows),
                part=self._part(group),
                l1=tuple(l1[index]),
                l2=tuple(l2[index]),
            )
            for index, group in enumerate(self.units.groups)
        )

    def _part(self, group: Group) -> tuple[int, ...]:
        parts = self.units.parts.of[group.labels].tolist()
        return tuple(parts) if len(set(parts)) > 1 else (parts[0],)

    def _per_unit(self, terms: tuple[Term, ...]) -> list[float]:
        """What goes with one unit of each group, on average."""
        parts = self.units.parts.all
        single = lost(terms, [part.size for part in parts], gone=[1] * len(parts), owners=range(len(parts)))
        totals = [0] * len(self.units.groups)
        for index, part in enumerate(parts):
            totals[part.group] += part.size * single[index]
        return [total / len(group.labels) for total, group in zip(totals, self.units.groups, strict=True)]

    def _scores(self, kind: Kind) -> list[list[float]]:
        if sum(len(group.labels) for group in self.units.groups) > SCORED_UNITS:
            return [[] for _ in self.units.groups]
        return score(self.units, self.lab, kind)

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
