"""A network that is put to the test, and what it is exported with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim

BATCH = Dim("batch", min=1, max=256)
SEQUENCE = Dim("sequence", min=4, max=64)
EXAMPLES = 2


@dataclass(frozen=True)
class Subject:
    """A module in evaluation mode, two examples, and for each input the axes whose sizes vary."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    vary: tuple[dict[int, Dim], ...]


Build = Callable[[], Subject]


class Picked(nn.Module):
    """A module that answers with a dictionary, here with the one tensor that `key` names."""

    def __init__(self, module: nn.Module, key: str) -> None:
        super().__init__()
        self.module = module
        self.key = key

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.module(x)[self.key]
        return answer


def of_images(module: nn.Module, *shape: int, count: int = 1) -> Subject:
    """A subject that takes `count` inputs of (batch, *shape)."""
    return of_tensors(module, [torch.randn(EXAMPLES, *shape) for _ in range(count)])


def of_tensors(module: nn.Module, inputs: Sequence[Tensor], *, sequence: bool = False) -> Subject:
    """A subject whose batch varies, and axis 1 of every input too if `sequence`."""
    axes = {0: BATCH, 1: SEQUENCE} if sequence else {0: BATCH}
    return Subject(module.eval(), tuple(inputs), tuple(dict(axes) for _ in inputs))
