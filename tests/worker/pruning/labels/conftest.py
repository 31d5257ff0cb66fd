"""Networks as programs, through a file, as the worker gets them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worker.program.program import Program
from worker.program.reader import read

Uploaded = Callable[..., Program]


@pytest.fixture
def uploaded(tmp_path: Path) -> Uploaded:
    """Exports a module with a free batch and reads the file."""

    def make(module: nn.Module, *inputs: Tensor) -> Program:
        shapes = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs)
        path = tmp_path / "upload.pt2"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The tensor attribute")
            torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), path)
        return read(path)

    return make
