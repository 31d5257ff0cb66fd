"""Orders for whole jobs over small networks, done in this process."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from secateur.ids import new_id
from secateur.spec import JobSpec
from tests.worker.networks import Case
from worker import pipeline
from worker.order import AnyMessage, Checkpointed, Finished, JobOrder, Limits

LIMITS = Limits(file_bytes=1 << 30, threads=1, lease_s=60, renewed_at_s=0)


def export(case: Case, path: Path) -> None:
    """As somebody would who uploads the module."""
    with warnings.catch_warnings():
        # What torch says to somebody who exports a module with its pruning still attached.
        warnings.filterwarnings("ignore", message="The tensor attributes? .* assigned during export")
        program = torch.export.export(case.module, case.inputs, case.kwargs, dynamic_shapes=case.dynamic)
    torch.export.save(program, path)


def order(folder: Path, case: Case, **changes: Any) -> JobOrder:
    """An order over files that are written into `folder`; `of_data` are more fields of the spec's data."""
    model, train = folder / "upload.pt2", folder / "train.safetensors"
    if not model.exists():
        export(case, model)
        save_file(case.arrays, train)
    data, dataset = new_id("dst"), str(train)
    spec = {
        "model": new_id("mdl"),
        "data": {"train": data, "test": data, "validation": 0.25, **changes.pop("of_data", {})},
        "task": {**case.task, "output": case.output},
        "prune": {
            "target": {"kind": "sparsity", "amount": 0.6},
            "schedule": {"kind": "iterative", "rounds": 2},
            "layers": {"exclude": case.exclude},
        },
        "recover": {
            "kind": "fine_tune", "learning_rate": 0.01, "batch_size": 8, "epochs_per_round": 1, "epochs": 2,
        },
        "finalize": {"artifacts": ["pt2", "safetensors", "checkpoint"], "latency": {"batch_sizes": [2], "runs": 3}},
    }  # fmt: skip
    out = folder / f"attempt-{len(list(folder.iterdir()))}"
    out.mkdir()
    settings: dict[str, Any] = {
        "id": new_id("job"),
        "spec": JobSpec.model_validate(spec | changes.pop("spec", {})),
        "folder": str(out),
        "model": str(model),
        "model_sha256": "0" * 64,
        "data": {data: dataset},
        "data_sha256": {data: "0" * 64},
        "checkpoint_every_s": 3600.0,
        "device": "cpu",
        "attempt": 1,
        "limits": LIMITS,
    }
    return JobOrder(**(settings | changes))


def run(wanted: JobOrder, messages: list[AnyMessage] | None = None) -> Finished:
    """Do the job; what it says is added to `messages`."""
    said: list[AnyMessage] = [] if messages is None else messages
    finished = pipeline.run(wanted, said.append, lambda: False)
    assert finished is not None
    return finished


def digests(wanted: JobOrder) -> dict[str, str]:
    """Of the artifacts."""
    names = ("model.pt2", "model.safetensors")
    return {name: hashlib.sha256((Path(wanted.folder) / name).read_bytes()).hexdigest() for name in names}


def checkpoints(wanted: JobOrder, folder: Path) -> list[tuple[Path, str]]:
    """Do the job and keep every checkpoint that it writes: where it is kept, and its digest."""
    kept: list[tuple[Path, str]] = []

    def keep(message: AnyMessage) -> None:
        if isinstance(message, Checkpointed):
            copy = folder / f"kept-{len(kept)}.safetensors"
            copy.write_bytes((Path(wanted.folder) / message.name).read_bytes())
            kept.append((copy, message.sha256))

    pipeline.run(wanted, keep, lambda: False)
    return kept
