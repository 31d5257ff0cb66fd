"""How far each unit is from the others of its group: the geometric median criterion (He et al. 2019, FPGM)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.belongings import Flags, Reals
from worker.pruning.units.groups import Group
from worker.pruning.units.lines import Line, Vector, used_parameters
from worker.pruning.units.units import Units

ROWS = 256
"""How many units are compared with all others at a time."""

INPUTS_FIRST = frozenset(("matmul", "mm", "bmm", "mv", "tensordot", "addmm", "addmv", "baddbmm", "addbmm", "einsum"))
"""Operators that take a weight with its inputs along the axis before its outputs."""


def distances(units: Units, lab: Labelling, tensors: Mapping[str, Tensor], there: Flags) -> Reals:
    """Of each label, the sum of the Euclidean distances to all other units of its group that are there; float64.

    A unit is compared by the rows that it is born on: the filter of a channel, the weights into a neuron, of each layer
    that writes to a stream one row, of a head all rows of its queries, keys and values, as they lie. What is born on
    fewer rows than others of its group has zeros for the rest. A unit whose sum is small lies near the group's
    geometric median, and others can stand for it.
    """
    found = np.zeros(units.count)
    for group in units.groups:
        labels = group.labels[there[group.labels]]
        if len(labels) > 1:
            vectors = torch.cat(list(_rows(units, lab, tensors, group, labels)), dim=1)
            found[labels] = _sums(vectors).numpy()
    return found


def _rows(
    units: Units, lab: Labelling, tensors: Mapping[str, Tensor], group: Group, labels: Vector
) -> Iterator[Tensor]:
    """For each weight that a group is born on, what these units have of it: [units, entries], float64, on the host."""
    nodes = {name: node for node, name in used_parameters(lab.program).items()}
    for name, operator in group.births.items():
        sides = units.lines.of(nodes[name])
        lines = [(axis, line) for axis, side in enumerate(sides) for line in side.lines]
        carrying = [(axis, line) for axis, line in lines if np.isin(labels, line.labels).any()]
        if carrying:
            # Where units lie on both axes (from a stream to itself) the rows are those of the outputs.
            axis, line = carrying[-1 if operator in INPUTS_FIRST else 0]
            rows = tensors[name].detach().to("cpu", torch.float64).movedim(axis, 0).flatten(1)
            yield _of(rows, line, labels)


def _of(rows: Tensor, line: Line, labels: Vector) -> Tensor:
    """The rows of each label one after the other, with zeros where it has fewer than others."""
    order, ends = np.argsort(line.places, kind="stable"), np.cumsum(line.counts)
    index = np.full((len(labels), int(line.counts.max())), len(rows))
    for at, label in enumerate(labels):
        place = int(np.searchsorted(line.labels, label))
        if place < len(line.labels) and line.labels[place] == label:
            own = order[ends[place] - line.counts[place] : ends[place]]
            index[at, : len(own)] = own
    padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    return padded[torch.from_numpy(index)].flatten(1)


def _sums(vectors: Tensor) -> Tensor:
    """The sum of the distances of each vector to all."""
    return torch.cat([torch.cdist(part, vectors).sum(dim=1) for part in torch.split(vectors, ROWS)])
