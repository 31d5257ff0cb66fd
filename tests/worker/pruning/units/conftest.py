"""What the units of a module are, through a file as a user would send it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.units import ModelUnits, UnitGroup
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.units.describe import describe
from worker.pruning.units.units import Units, find_units


@dataclass(frozen=True)
class Found:
    """What was found in a module."""

    program: Program
    lab: Labelling
    units: Units
    described: ModelUnits

    def group(self, name: str) -> UnitGroup:
        """The group of this name."""
        return next(group for group in self.described.groups if group.name == name)


Find = Callable[..., Found]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """Exports a module with a batch that may vary, reads the file and finds the units."""

    def found(module: nn.Module, inputs: Sequence[Tensor]) -> Found:
        batch = torch.export.Dim("batch", min=1, max=64)
        shapes = tuple({0: batch} for _ in inputs)
        exported = torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=shapes)
        torch.export.save(exported, tmp_path / "net.pt2")
        program = read(tmp_path / "net.pt2")
        lab = label(program)
        units = find_units(lab)
        return Found(program, lab, units, describe(units, lab))

    return found
