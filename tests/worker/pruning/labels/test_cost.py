"""What labelling costs: in step with the graph, whatever the network is deep, wide or large in its images."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.worker.pruning.labels.conftest import Uploaded
from worker.program.program import Program
from worker.pruning.labels.labelling import label


class Blocks(nn.Module):
    """A residual stream of so many blocks."""

    def __init__(self, depth: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()) for _ in range(depth)
        )
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))


def seconds(program: Program) -> float:
    return min(_timed(lambda: label(program)) for _ in range(3))


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def test_four_times_the_depth_costs_about_four_times_as_much(uploaded: Uploaded) -> None:
    shallow, deep = (uploaded(Blocks(depth), torch.randn(2, 3, 8, 8)) for depth in (8, 32))
    assert seconds(deep) < 8 * seconds(shallow)


def test_large_images_cost_what_small_ones_cost(uploaded: Uploaded) -> None:
    small, large = (uploaded(Blocks(6), torch.randn(2, 3, size, size)) for size in (8, 256))
    assert seconds(large) < 3 * seconds(small)
