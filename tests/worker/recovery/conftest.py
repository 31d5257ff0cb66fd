"""Small programs and data sets for the tests of recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

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


class ZeroGuard:
    """The plainest guard: gradients, weights and momentum of pruned entries are set to zero."""

    def __init__(
        self, masks: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], optimizer: Optimizer
    ) -> None:
        self.masks, self.weights, self.optimizer = masks, weights, optimizer

    @torch.no_grad()
    def before_step(self) -> None:
        for name, mask in self.masks.items():
            gradient = self.weights[name].grad
            assert gradient is not None
            gradient.masked_fill_(~mask, 0)

    @torch.no_grad()
    def after_step(self) -> None:
        for name, mask in self.masks.items():
            self.weights[name].masked_fill_(~mask, 0)


@pytest.fixture
def program_of() -> type[PlainProgram]:
    """Makes a program from a module."""
    return PlainProgram


@pytest.fixture
def guarding() -> Callable[[Mapping[str, torch.Tensor]], Callable[..., ZeroGuard]]:
    """Makes the maker of guards for some masks."""
    return lambda masks: lambda weights, optimizer: ZeroGuard(masks, weights, optimizer)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes arrays as safetensors and opens them for a program with one input `x`."""

    def make(x: torch.Tensor, target: torch.Tensor, dtype: torch.dtype = torch.float32) -> Dataset:
        path = tmp_path / f"data-{len(list(tmp_path.iterdir()))}.safetensors"
        save_file({"x": x.contiguous(), "target": target.contiguous()}, path)
        return Dataset.open(path, {}, "target", [SimpleNamespace(name="x", dtype=dtype, shape=("batch", *x.shape[1:]))])

    return make
