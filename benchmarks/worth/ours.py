"""A task as a job of the service, over HTTP."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

from benchmarks.worth.macs import count_macs
from benchmarks.worth.outcome import Outcome
from benchmarks.worth.recipes import AMOUNT, CURVE, ROUNDS
from benchmarks.worth.task import Task
from secateur.client import Client

MULTIPLES = {"ours": 1, "rounded": 8}
"""Our sides, and the `multiple_of` of each."""


def spec(task: Task, multiple_of: int) -> dict[str, Any]:
    """The job, without model and data."""
    return {
        "prune": {
            "granularity": "unit",
            "importance": {"kind": "l2"},
            "scope": "global",
            "target": {"kind": "macs", "amount": AMOUNT},
            "multiple_of": multiple_of,
            "schedule": {"kind": "iterative", "rounds": ROUNDS, "curve": CURVE},
        },
        "recover": task.recipe.recover.model_dump(mode="json"),
        "finalize": {"artifacts": ["pt2"], "latency": None},
        "seed": task.seed,
        "device": "cpu",
    }


def prune(client: Client, task: Task, side: str) -> Outcome:
    """Submit the job and wait; leaves the side's `.pt2` in the task's folder.

    Accuracies are the report's. MACs and parameters are counted in the file that came back, as stock PyTorch loads it.
    """
    train, validation, test = (task.part(name) for name in (task.recipe.part, "validation", "test"))
    wanted = spec(task, MULTIPLES[side])
    result = client.compress(task.folder / "dense.pt2", train=train, validation=validation, test=test, spec=wanted)
    result.fetch(task.folder / "job")["model.pt2"].replace(task.folder / f"{side}.pt2")
    dense, small = (torch.export.load(task.folder / f"{name}.pt2") for name in ("dense", side))
    metric = result.report.metric
    return Outcome(
        dense=metric.dense,
        one_shot=metric.one_shot or 0.0,
        pruned=metric.pruned or 0.0,
        recovered=metric.recovered,
        dense_macs=count_macs(dense.module(), task.example),
        macs=count_macs(small.module(), task.example),
        dense_parameters=_parameters(dense),
        parameters=_parameters(small),
    )


def _parameters(program: ExportedProgram) -> int:
    return sum(parameter.numel() for parameter in program.parameters())
