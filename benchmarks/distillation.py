"""What the dense network's outputs bring and cost while a pruned one is trained: `python -m benchmarks.distillation`.

Writes `benchmarks/distillation.md`. Every row is a whole job on scikit-learn's digits, in this process.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.table import machine, write
from secateur.ids import new_id
from secateur.report import Report
from secateur.spec import JobSpec
from worker import pipeline
from worker.order import JobOrder, Limits

SEEDS = 3
TRAIN = 898
LABELLED = 90
IGNORED = -100
AMOUNT = 0.95
RATE, EPOCHS = 0.05, 30
LIMITS = Limits(file_bytes=1 << 30, threads=1, lease_s=60, renewed_at_s=0)
FEATURES = ["relu_default", "relu_default_1", "relu_default_2"]
CLASSES: dict[str, Any] = {"kind": "classification"}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "labels alone": (CLASSES, None),
    "half of the loss, temperature 2 (default)": (CLASSES, {}),
    "0.9 of the loss, temperature 4": (CLASSES, {"weight": 0.9, "temperature": 4.0}),
    "default and the features of all three ReLUs": (CLASSES, {"features": FEATURES}),
    "distillation_only": ({"kind": "distillation_only"}, None),
    "distillation_only, all of the loss at temperature 4": (
        {"kind": "distillation_only"},
        {"weight": 1.0, "temperature": 4.0},
    ),
}


def network() -> nn.Sequential:
    """About 9,700 weights."""
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)]
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))


def digits() -> tuple[Tensor, Tensor]:
    """Pictures (1797, 1, 8, 8) from 0 to 1, and their labels."""
    pictures, labels = load_digits(return_X_y=True)
    return torch.tensor(pictures, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)


def write_files(folder: Path, seed: int) -> None:
    """A trained network and its data: half of the digits to train on, also with few labels, the others to report on."""
    torch.manual_seed(seed)
    x, y = digits()
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - epoch / EPOCHS)
        for batch in torch.randperm(TRAIN).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    program = torch.export.export(net.eval(), (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, folder / "model.pt2")
    few = torch.where(torch.arange(TRAIN) < LABELLED, y[:TRAIN], IGNORED)
    save_file({"input": x[:TRAIN].clone(), "target": y[:TRAIN].clone()}, folder / "all.safetensors")
    save_file({"input": x[:TRAIN].clone(), "target": few}, folder / "few.safetensors")
    save_file({"input": x[TRAIN:].clone(), "target": y[TRAIN:].clone()}, folder / "test.safetensors")


def done(folder: Path, labels: str, seed: int, task: dict[str, Any], distill: dict[str, Any] | None) -> Report:
    """The report of a job: 95 % of the weights in 5 rounds of 2 epochs, and 10 epochs at the end."""
    train, test = new_id("dst"), new_id("dst")
    schedule = {"kind": "iterative", "rounds": 5}
    tuning = {"kind": "fine_tune", "original_learning_rate": RATE, "epochs": 10, "distill": distill}
    spec = {
        "model": new_id("mdl"), "data": {"train": train, "test": test}, "task": task, "seed": seed, "recover": tuning,
        "prune": {"target": {"kind": "sparsity", "amount": AMOUNT}, "schedule": schedule},
        "finalize": {"artifacts": ["pt2"], "latency": None},
    }  # fmt: skip
    out = Path(tempfile.mkdtemp(dir=folder))
    order = JobOrder(
        id=new_id("job"), spec=JobSpec.model_validate(spec), folder=str(out), device="cpu", attempt=1,
        model=str(folder / "model.pt2"), model_sha256="0" * 64, checkpoint_every_s=3600.0,
        data={train: str(folder / f"{labels}.safetensors"), test: str(folder / "test.safetensors")},
        data_sha256={train: "0" * 64, test: "0" * 64}, limits=LIMITS,
    )  # fmt: skip
    finished = pipeline.run(order, lambda _: None, lambda: False)
    assert finished is not None
    (out / "model.pt2").rename(folder / "pruned.pt2")
    return finished.report


def accuracy(path: Path) -> float:
    """Of a program on the test images, whatever the job's own metric was."""
    x, y = digits()
    scores = torch.export.load(path).module()(x[TRAIN:])
    return float((scores.argmax(1) == y[TRAIN:]).float().mean())


def main() -> None:
    """Measure, print the table and write it beside this file."""
    torch.set_num_threads(1)
    points: dict[tuple[str, str], list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory(prefix="secateur-distillation-") as name:
            folder = Path(name)
            write_files(folder, seed)
            dense = accuracy(folder / "model.pt2")
            for labels in ("all", "few"):
                for title, (task, distill) in RECIPES.items():
                    report = done(folder, labels, seed, task, distill)
                    lost = 100 * (accuracy(folder / "pruned.pt2") - dense)
                    points.setdefault((labels, title), []).append(lost)
                    seconds.setdefault(title, []).append(report.timing["fine_tune"])
    base = statistics.median(seconds["labels alone"])
    rows = [
        [title, summary(points["all", title]), summary(points["few", title]), f"{statistics.median(times) / base:.2f}"]
        for title, times in seconds.items()
    ]
    columns = ["learned from", f"all {TRAIN} labels", f"{LABELLED} labels, {TRAIN - LABELLED} ignored", "time"]
    notes = [
        f"Recovered minus dense accuracy, in points on the other digits: mean of {SEEDS} seeds (worst to best).",
        f"{AMOUNT:.0%} of the weights by magnitude in 5 rounds; 10 epochs at the end, 2 after each other round.",
        "The data beside labels that are ignored (-100) teaches distillation_only alone.",
        "Time: all fine-tuning, evaluation included, against that from the labels alone; medians.",
    ]
    write(Path(__file__).with_suffix(".md"), "Learning from the dense network", columns, rows, [*notes, machine()])


def summary(differences: Sequence[float]) -> str:
    return f"{statistics.mean(differences):+.2f} ({min(differences):+.2f} to {max(differences):+.2f})"


if __name__ == "__main__":
    main()
