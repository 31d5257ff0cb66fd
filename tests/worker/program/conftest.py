"""Networks and files for the tests of reading and writing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

Export = Callable[..., Path]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
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
