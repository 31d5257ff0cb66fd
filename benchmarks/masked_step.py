"""The masked training step against the dense one: `python -m benchmarks.masked_step`."""

from __future__ import annotations

import copy
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.table import machine, write
from secateur.allocation import Pool
from secateur.spec.recover import FineTune
from secateur.spec.training import AdamW, Sgd
from worker.pruning.masked import Masked
from worker.pruning.select import select
from worker.recovery.optimizer import optimizer_for

PAIRS = 32
WARM_UP = 3
AMOUNT = 0.9
BATCH = 32
RECIPES = {
    "sgd": FineTune(learning_rate=0.01, optimizer=Sgd()),
    "adamw": FineTune(learning_rate=1e-4, optimizer=AdamW()),
}


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
    """Four layers of width 256, four heads, feed-forward width 1024, 10 classes: 3.2 M parameters."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(256, 10))


def main() -> None:
    """Measure two networks with two optimizers, print the table and write it beside this file.

    On one thread: with all of them, a step waits at every operator for whatever else the machine does.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    networks = {
        "ResNet-18, 64 px": (resnet18, (BATCH, 3, 64, 64), BATCH),
        "transformer, 4 x 256, 64 tokens": (transformer, (BATCH, 64, 256), BATCH * 64),
    }
    rows = [
        [name, kind, *measured(build(), shape, labels, recipe)]
        for name, (build, shape, labels) in networks.items()
        for kind, recipe in RECIPES.items()
    ]
    columns = ["network", "optimizer", "dense step (ms)", "masked step (ms)", "masked / dense (<= 1.03)", "quartiles"]
    notes = [
        f"Batch {BATCH}, {AMOUNT:.0%} of all weights of two or more dimensions pruned; forward, backward and step.",
        f"Dense and masked steps in turn on two copies of a network; medians, and the median of {PAIRS} ratios.",
        "Inputs and labels are drawn anew for each pair of steps, the same for both copies; cross-entropy.",
    ]
    write(Path(__file__).with_suffix(".md"), "Masked training step", columns, rows, [*notes, machine()])


def measured(net: nn.Module, shape: tuple[int, ...], labels: int, recipe: FineTune) -> list[str]:
    """Dense and masked milliseconds, the median of their ratios and its quartiles."""
    twin = copy.deepcopy(net)
    dense_optimizer = optimizer_for(recipe, net.parameters())
    masked_optimizer = optimizer_for(recipe, twin.parameters())
    weights = {name: weight for name, weight in twin.named_parameters() if weight.dim() > 1}
    masks = select(weights, [Pool(tuple(weights), AMOUNT)])
    dense: list[float] = []
    masked: list[float] = []
    with Masked(weights, masks, masked_optimizer):
        for pair in range(WARM_UP + PAIRS):
            x, y = torch.randn(shape), torch.randint(10, (labels,))
            turns = [(net, dense_optimizer, dense), (twin, masked_optimizer, masked)]
            for copied, optimizer, times in turns if pair % 2 == 0 else reversed(turns):
                times.append(milliseconds(copied, x, y, optimizer))
    ratios = [b / a for a, b in zip(dense[WARM_UP:], masked[WARM_UP:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = [f"{statistics.median(series[WARM_UP:]):.1f}" for series in (dense, masked)]
    return [*medians, f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]


def milliseconds(net: nn.Module, x: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """How long one training step takes."""
    start = time.perf_counter()
    optimizer.zero_grad()
    functional.cross_entropy(net(x).flatten(0, -2), labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
