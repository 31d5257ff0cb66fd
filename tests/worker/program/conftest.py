"""Networks and files for the tests of reading and writing."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

Export = Callable[..., Path]
Call = tuple[Sequence[Tensor], Mapping[str, Tensor]]
Stock = Callable[[Path, Sequence[Call]], list[Any]]

STOCK = """
import json, sys, torch
for line in sys.stdin:
    program, given, found = json.loads(line)
    run = torch.export.load(program).module()
    with torch.no_grad():
        torch.save([run(*args, **kwargs) for args, kwargs in torch.load(given, weights_only=True)], found)
    print(flush=True)
"""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports a module with a batch that may vary (or not: `fixed`) and gives the file."""

    def make(module: nn.Module, inputs: Sequence[Tensor], *, fixed: bool = False, name: str = "upload") -> Path:
        batch = torch.export.Dim("batch", min=1, max=64)
        shapes = None if fixed else tuple({0: batch} for _ in inputs)
        path = tmp_path / f"{name}.pt2"
        with warnings.catch_warnings():
            # torch warns of what recurrent layers and torch.nn.utils.prune set in forward.
            warnings.filterwarnings("ignore", message="The tensor attribute")
            torch.export.save(torch.export.export(module, tuple(inputs), dynamic_shapes=shapes), path)
        return path

    return make


@pytest.fixture(scope="session")
def stranger() -> Iterator[subprocess.Popen[str]]:
    """A process with torch and nothing of ours: it loads programs and runs them."""
    command = [sys.executable, "-P", "-c", STOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def stock(stranger: subprocess.Popen[str], tmp_path: Path) -> Stock:
    """What stock torch makes of a program, for the arguments of each call."""

    def run(program: Path, calls: Sequence[Call]) -> list[Any]:
        given, found = tmp_path / "given.pt", tmp_path / "found.pt"
        torch.save([(tuple(args), dict(kwargs)) for args, kwargs in calls], given)
        assert stranger.stdin is not None
        assert stranger.stdout is not None
        print(json.dumps([str(program), str(given), str(found)]), file=stranger.stdin, flush=True)
        assert stranger.stdout.readline() == "\n", "stock torch could not run it"
        results: list[Any] = torch.load(found, weights_only=True)
        return results

    return run
