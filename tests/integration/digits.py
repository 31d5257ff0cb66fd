"""The demo's network and data, uploaded and submitted with a spec that leaves time to interfere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur import Client


@dataclass(frozen=True)
class Files:
    """A trained network and its data on disk."""

    model: Path
    train: Path
    test: Path


def spec(client: Client, files: Files, **changes: Any) -> dict[str, Any]:
    """A spec over fresh uploads."""
    model = client.upload_model(files.model)
    train, test = client.upload_dataset(files.train), client.upload_dataset(files.test)
    return {
        "model": model.id,
        "data": {"train": train.id, "test": test.id},
        "prune": {"target": {"kind": "sparsity", "amount": 0.9}, "schedule": {"kind": "iterative", "rounds": 3}},
        "recover": {"kind": "fine_tune", "original_learning_rate": 0.1, "epochs_per_round": 15, "epochs": 6},
        "finalize": {"latency": {"batch_sizes": [1], "runs": 3}},
        "device": "cpu",
    } | changes


def submit(client: Client, files: Files, *, slow: bool = False) -> str:
    """A job of three rounds of a few seconds each, or of minutes where it is `slow`."""
    wanted = spec(client, files)
    if slow:
        wanted["recover"] |= {"epochs_per_round": 40, "epochs": 40}
    return client.submit(wanted).id
