"""The demo: a small network for handwritten digits loses 90 % of its weights, then, anew, half of its work.

    python -m examples.digits

Trains a network on half of scikit-learn's digits, starts Redis, the API and a worker on this machine, has the network
pruned over HTTP, once weight by weight and once by whole channels and neurons, shows both reports, and checks with
stock PyTorch that the files which came back are as good as reported.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from secateur.cli.progress import Watcher
from secateur.cli.table import draw
from secateur.client import Client, Result
from secateur.errors import SecateurError
from secateur.stack import Stack

OUTPUT = Path("demo-output")
ALLOWED_LOSS = 0.01
BATCH_SIZE = 64
LEARNING_RATE = 0.05
EPOCHS = 30

SCHEDULE = {"kind": "iterative", "rounds": 5, "curve": "cubic"}
RECOVER = {
    "kind": "fine_tune",
    "epochs_per_round": 5,
    "epochs": 20,
    "batch_size": BATCH_SIZE,
    "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "original_learning_rate": LEARNING_RATE,
    "curve": "cosine",
}
WEIGHTS: dict[str, Any] = {
    "prune": {"granularity": "weight", "target": {"kind": "sparsity", "amount": 0.9}, "schedule": SCHEDULE},
    "recover": RECOVER,
}
UNITS: dict[str, Any] = {
    "prune": {"granularity": "unit", "target": {"kind": "macs", "amount": 0.5}, "schedule": SCHEDULE},
    "recover": RECOVER,
}
ACTS = {"weights": WEIGHTS, "units": UNITS}


class Digits(nn.Module):
    """Three convolutions with batch norm, two linear layers: 47,376 weights. Images (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        return self.classifier(self.features(image))


def digits() -> dict[str, dict[str, Tensor]]:
    """898 images to train on and 899 to test on, each class halved; pixels from 0 to 1."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32).unsqueeze(1)
    target = torch.tensor(bunch.target, dtype=torch.int64)
    train, test = train_test_split(range(len(target)), train_size=898, stratify=bunch.target, random_state=0)
    return {
        name: {"image": images[rows].contiguous(), "target": target[rows]}
        for name, rows in (("train", train), ("test", test))
    }


def write_data(folder: Path) -> tuple[Path, Path]:
    """`train.safetensors` and `test.safetensors` in `folder`."""
    paths = folder / "train.safetensors", folder / "test.safetensors"
    for path, arrays in zip(paths, digits().values(), strict=True):
        save_file(arrays, path)
    return paths


def train_network(seed: int, images: Mapping[str, Tensor] | None = None) -> nn.Module:
    """A trained network in evaluation mode; the same seed gives the same one on the same machine.

    `images` are those of `digits` that it is trained on: all that are to be trained on, when left out.
    """
    torch.set_num_threads(1)  # the network is so small that threads would only wait for each other
    torch.manual_seed(seed)
    data, network = images or digits()["train"], Digits()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data["target"])).split(BATCH_SIZE):
            optimizer.zero_grad()
            functional.cross_entropy(network(data["image"][rows]), data["target"][rows]).backward()
            optimizer.step()
        schedule.step()
    return network.eval()


def export(model: nn.Module, path: Path) -> Path:
    """Write the network as a program that takes any number of images."""
    example = (torch.zeros(2, 1, 8, 8),)
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(model, example, dynamic_shapes=({0: batch},)), path)
    return path


def correct(path: Path) -> int:
    """How many of the test images the program gets right, with nothing but stock PyTorch."""
    test = digits()["test"]
    program = torch.export.load(path).module()
    with torch.inference_mode():
        return int((program(test["image"]).argmax(1) == test["target"]).sum())


def write_model(folder: Path, seed: int) -> Path:
    """`digits.pt2` in `folder`, with a trained network."""
    return export(train_network(seed), folder / "digits.pt2")


def compress(client: Client, watcher: Watcher, folder: Path, spec: dict[str, Any]) -> Result:
    """Upload the network and the data of a folder, have the network pruned, and wait for the report."""
    train, test = folder / "train.safetensors", folder / "test.safetensors"
    client.on_bytes = watcher.on_bytes
    job = client.submit(client.prepare(folder / "digits.pt2", train=train, test=test, spec=spec))
    watcher.submitted(job)
    for event in client.watch(job.id):
        watcher.on_event(event)
    return client.result(job.id)


def verdict(result: Result, model: Path) -> str | None:
    """What is wrong with the result; None where it is as good as it has to be and says so truly."""
    metric = result.report.metric
    if (reloaded := correct(model)) != round(metric.recovered * metric.examples):
        return f"{model} gets {reloaded} of {metric.examples} images right, the report says {metric.recovered:.2%}"
    if metric.recovered < metric.dense - ALLOWED_LOSS:
        return f"the accuracy fell from {metric.dense:.2%} to {metric.recovered:.2%}, more than {ALLOWED_LOSS:.0%}"
    return None


def main(output: Path, seed: int) -> int:
    """Run the demo; the exit code."""
    console, began_s, problems = Console(), time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="secateur-demo-") as name:
        folder = Path(name)
        with Stack(data_dir=folder / "var") as stack, Client(stack.url) as client:
            console.print(f"Redis, the API and a worker are up at {stack.url}; training a network for digits ...")
            write_data(folder)
            write_model(folder, seed)
            for act, spec in ACTS.items():
                try:
                    with Watcher(console) as watcher:
                        result = compress(client, watcher, folder, {**spec, "seed": seed})
                except SecateurError:
                    console.print(stack.processes["worker"].last_words(), markup=False)
                    raise
                console.print(draw(result.report))
                problems.append(verdict(result, result.fetch(output / act)["model.pt2"]))
    found = [problem for problem in problems if problem is not None]
    console.print(f"{time.monotonic() - began_s:.0f} s; the results are in {output}/: {', '.join(ACTS)}")
    console.print("\n".join(found) or "Both model.pt2, loaded with stock PyTorch, are as accurate as the reports say.")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prune a network for handwritten digits through the whole service.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        sys.exit(main(options.output, options.seed))
    except SecateurError as error:
        sys.exit(f"{error.code}: {error.message}\n{error.remedy or ''}")
