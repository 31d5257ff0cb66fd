"""An inspection says what can be removed; where that cannot be told, the upload is good all the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.errors import ProgramFails
from secateur.inspection import ModelInspection
from worker import inspection
from worker.inspection import inspect_model
from worker.program.program import Program
from worker.program.reader import read


@pytest.fixture
def program(tmp_path: Path) -> Program:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(module, (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "net.pt2")
    return read(tmp_path / "net.pt2")


def test_units_are_in_the_record(program: Program) -> None:
    found = inspect_model(program)
    assert found.units is not None
    assert [(group.name, group.size) for group in found.units.groups] == [("0.weight", 6)]
    assert found.notes == ()
    assert ModelInspection.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("error", [ProgramFails("Shapes cannot be told."), KeyError("view\nof \ud800"), MemoryError()])
def test_a_failure_leaves_a_note(program: Program, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Program) -> None:
        raise error

    monkeypatch.setattr(inspection, "label", fail)
    found = inspect_model(program)
    assert found.units is None
    assert len(found.notes) == 1
    assert "neurons" in found.notes[0]
    assert len(found.layers) == 2
    assert ModelInspection.model_validate_json(found.model_dump_json()) == found


def test_a_search_without_end_is_ended(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "UNITS_S", 0.1)
    monkeypatch.setattr(inspection, "label", lambda _: time.sleep(60))
    started = time.monotonic()
    found = inspect_model(program)
    assert time.monotonic() - started < 30
    assert found.units is None
    assert "0.1 s" in found.notes[0]


def test_more_units_than_the_door_can_weigh_are_left_out(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "UNITS_MAX", 6)
    assert inspect_model(program).units is not None
    monkeypatch.setattr(inspection, "UNITS_MAX", 5)
    found = inspect_model(program)
    assert found.units is None
    assert "6 units" in found.notes[0]
