"""The units of a program: which labels belong to which group and part, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.groups import Group, Groups
from worker.pruning.units.lines import Lines, Vector
from worker.pruning.units.parts import Parts


@dataclass(frozen=True)
class Units:
    """All units of one labelling."""

    groups: tuple[Group, ...]
    group_of: Vector
    """The index of each label's group; NO_GROUP for what is no unit."""
    parts: Parts
    lines: Lines

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.group_of)


def find_units(lab: Labelling) -> Units:
    """The units of a labelled program: labels on parameters, by the axis that they are born on."""
    lines = Lines(lab)
    groups = Groups(lab, lines)
    return Units(tuple(groups.all), groups.of, Parts(groups, lines), lines)


def removed_labels(units: Units, chosen: Mapping[str, Iterable[int]]) -> Tensor:
    """Which labels go when units are removed: bool, (labels,).

    `chosen` has for the names of groups the indices of their units, from 0 on.
    """
    removed = torch.zeros(units.count, dtype=torch.bool)
    labels = {group.name: group.labels for group in units.groups}
    for name, indices in chosen.items():
        removed[labels[name][sorted(indices)]] = True
    return removed
