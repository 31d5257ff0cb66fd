"""A hand-made net as the engine sees it: read, labelled, its units found; and cuts of it."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from secateur.units import ModelUnits
from tests.worker.pruning.structured.case import Case
from tests.worker.pruning.structured.nets.table import CASES
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.units.describe import describe
from worker.pruning.units.units import Units, find_units, removed_labels


@dataclass(frozen=True)
class Subject:
    """What is known of a net before anything is taken out of it."""

    case: Case
    program: Program
    lab: Labelling
    units: Units
    described: ModelUnits

    def cut(self, share: float, seed: int) -> Cut:
        """Takes this share of the units out of every group."""
        return Cut(self.lab, removed_labels(self.units, self.chosen(share, seed)))

    def chosen(self, share: float, seed: int) -> dict[str, set[int]]:
        """This share of the units of every group, drawn at random; one is never among them where one must stay."""
        generator = torch.Generator().manual_seed(seed)
        chosen: dict[str, set[int]] = {}
        for group in self.described.groups:
            count = min(max(1, int(group.size * share)), group.size - 1)
            chosen[group.name] = set(torch.randperm(group.size, generator=generator)[:count].tolist())
        for parts in self.described.occupied:
            self._keep_one(chosen, parts)
        return chosen

    def _keep_one(self, chosen: dict[str, set[int]], parts: tuple[int, ...]) -> None:
        """Puts the last unit of these parts back where all of them were chosen."""
        there = [
            (group.name, index)
            for group in self.described.groups
            for index in range(group.size)
            if group.part[index % len(group.part)] in parts
        ]
        if all(index in chosen[name] for name, index in there):
            name, index = there[-1]
            chosen[name].remove(index)

    def batch(self, count: int) -> tuple[Tensor, ...]:
        """The case's own inputs, `count` examples of them, over and over."""
        return tuple(given[torch.arange(count) % len(given)] for given in self.case.inputs)


@cache
def subject(name: str) -> Subject:
    """The net of this name, through a file as a user would send it."""
    case = CASES[name]
    program = uploaded(case)
    lab = label(program)
    units = find_units(lab)
    return Subject(case, program, lab, units, describe(units, lab))


def uploaded(case: Case) -> Program:
    """The program that is read from the net's file."""
    torch.backends.mha.set_fastpath_enabled(False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # What torch says of recurrent layers, and of encoders whose norms come first, whoever exports them.
        warnings.filterwarnings("ignore", message="The tensor attributes .* assigned during export")
        warnings.filterwarnings("ignore", message="enable_nested_tensor is True")
        path = Path(folder) / "net.pt2"
        torch.export.save(case.exported(), path)
        return read(path)
