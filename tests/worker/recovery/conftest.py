"""Small programs and data sets for the tests of recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from secateur.inspection import TensorInfo
from worker.pruning.masked import Masked
from worker.recovery.data import Dataset


class PlainProgram:
    """A program around an ordinary module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self.module(*inputs)

    def set_training(self, mode: bool, /) -> None:
        self.module.train(mode)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.module.named_parameters()


@pytest.fixture
def program_of() -> type[PlainProgram]:
    """Makes a program from a module."""
    return PlainProgram


@pytest.fixture
def guarding() -> Callable[[Mapping[str, torch.Tensor]], Callable[..., Masked]]:
    """Makes the maker of guards for some masks."""
    return lambda masks: lambda weights, optimizer: Masked(weights, masks, optimizer)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes arrays as safetensors and opens them for a program with one input `x`."""

    def make(x: torch.Tensor, target: torch.Tensor, dtype: torch.dtype = torch.float32) -> Dataset:
        path = tmp_path / f"data-{len(list(tmp_path.iterdir()))}.safetensors"
        save_file({"x": x.contiguous(), "target": target.contiguous()}, path)
        name = str(dtype).removeprefix("torch.")
        return Dataset.open(path, {}, "target", [TensorInfo(name="x", dtype=name, shape=("batch", *x.shape[1:]))])

    return make
