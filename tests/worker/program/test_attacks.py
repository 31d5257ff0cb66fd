"""No file runs code: each attack is refused by a rule of its own, or read with its payload ignored."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from secateur.errors import BadModel
from tests.worker.program.attacks import ATTACKS, Attack, bare_pickle, clean, saved_pickle
from worker.program.program import Program
from worker.program.reader import read


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_leaves_no_mark(attack: Attack, tmp_path: Path) -> None:
    marker = tmp_path / "mark"
    path = attack.build(tmp_path, marker)
    modules = set(sys.modules)
    code = None
    try:
        program = read(path)
    except BadModel as error:
        code = error.code
    else:
        _run(program)
    assert code == attack.code
    assert not marker.exists()
    assert "this" not in set(sys.modules) - modules


def _run(program: object) -> None:
    """A text argument that means nothing is torch's to refuse; the mark is what counts."""
    assert isinstance(program, Program)
    with contextlib.suppress(RuntimeError):
        program(torch.zeros(2, 3))


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """A control: the same files leave their marks when torch itself loads and runs them."""
    real = [name for name, attack in ATTACKS.items() if attack.runs_in_torch]
    for number, name in enumerate(real):
        folder = tmp_path / str(number)
        folder.mkdir()
        ATTACKS[name].build(folder, folder / "mark")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NAIVE, tmp_path], check=True, capture_output=True, timeout=120
    )
    assert [name for number, name in enumerate(real) if not (tmp_path / str(number) / "mark").exists()] == []


NAIVE = """
import pathlib, sys, torch
for path in pathlib.Path(sys.argv[1]).glob("*/attack.pt2"):
    try:
        torch.export.load(path).module()(torch.zeros(2, 3))
    except Exception:
        pass
"""


@pytest.mark.parametrize("contents", [bare_pickle, saved_pickle])
def test_a_pickle_is_told_apart_and_not_opened(contents: object, tmp_path: Path) -> None:
    marker, path = tmp_path / "mark", tmp_path / "model.pt2"
    assert callable(contents)
    path.write_bytes(contents(marker))
    with pytest.raises(BadModel) as caught:
        read(path)
    assert caught.value.code == "pickled_module"
    assert "torch.export.save" in str(caught.value.remedy)
    assert not marker.exists()


def test_the_clean_file_is_read(tmp_path: Path) -> None:
    path = clean(tmp_path / "clean.pt2")
    program = read(path)
    example = torch.randn(5, 3)
    assert torch.equal(program(example), torch.export.load(path).module()(example))
