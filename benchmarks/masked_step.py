"""The masked training step against the dense one: `python -m benchmarks.masked_step`."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.table import machine, write
from worker.pruning.allocation import Pool
from worker.pruning.masked import Masked
from worker.pruning.select import select

PAIRS = 40
WARM_UP = 3
AMOUNT = 0.9
BATCH = 32


class Block(nn.Module):
    """Two 3x3 convolutions and a way past them (He et al. 2016)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        way = [nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)]
        self.past = nn.Sequential(*(way if stride > 1 or inside != outside else []))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inside, h, w] -> [batch, outside, h / stride, w / stride]."""
        return torch.relu(self.body(x) + self.past(x))


def resnet18() -> nn.Module:
    """ResNet-18 for 1000 classes: 11.7 M parameters."""
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    blocks = [Block(*width) for width in [*widths, (512, 512, 1)]]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def transformer() -> nn.Module:
    """Four layers of width 256, four heads, feed-forward width 1024: 3.2 M parameters."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(256, 10))


def sgd(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of the spec's example."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)


def adamw(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """AdamW with its defaults."""
    return torch.optim.AdamW(parameters, lr=1e-4)


def main() -> None:
    """Measure two networks with two optimizers, print the table and write it beside this file."""
    networks = {
        "ResNet-18, 64 px": (resnet18, torch.randn(BATCH, 3, 64, 64)),
        "transformer, 4 x 256, 64 tokens": (transformer, torch.randn(BATCH, 64, 256)),
    }
    rows = [
        [name, kind.__name__, *measured(build(), x, kind)]
        for name, (build, x) in networks.items()
        for kind in (sgd, adamw)
    ]
    columns = ["network", "optimizer", "dense step (ms)", "masked step (ms)", "masked / dense (<= 1.03)", "quartiles"]
    notes = [
        f"Batch {BATCH}, {AMOUNT:.0%} of all weights of two or more dimensions pruned; forward, backward and step.",
        f"Dense and masked steps in turn on two copies of a network; medians, and the median of {PAIRS} ratios of neighbours.",
    ]
    write(Path(__file__).with_suffix(".md"), "Masked training step", columns, rows, [*notes, machine()])


def measured(net: nn.Module, x: Tensor, kind: Callable[[Iterable[Tensor]], torch.optim.Optimizer]) -> list[str]:
    """Dense and masked milliseconds, the median of their ratios and its quartiles."""
    twin = copy.deepcopy(net)
    dense_optimizer, masked_optimizer = kind(net.parameters()), kind(twin.parameters())
    weights = {name: weight for name, weight in twin.named_parameters() if weight.dim() > 1}
    masks = select(weights, [Pool(tuple(weights), AMOUNT)])
    dense, masked = [], []
    with Masked(weights, masks, masked_optimizer):
        for pair in range(WARM_UP + PAIRS):
            for first in (True, False):
                if first == (pair % 2 == 0):
                    dense.append(milliseconds(net, x, dense_optimizer))
                else:
                    masked.append(milliseconds(twin, x, masked_optimizer))
    ratios = [b / a for a, b in zip(dense[WARM_UP:], masked[WARM_UP:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    times = [f"{statistics.median(series[WARM_UP:]):.1f}" for series in (dense, masked)]
    return [*times, f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]


def milliseconds(net: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """How long one training step takes."""
    start = time.perf_counter()
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
