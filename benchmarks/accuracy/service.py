"""A cell as a job of the service, over HTTP."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.accuracy.cell import Cell, Finding
from benchmarks.accuracy.subject import Subject
from benchmarks.worth import training
from benchmarks.worth.macs import count_macs
from secateur.client import Client
from secateur.report import Report
from secateur.spec.training import Training


def compress(client: Client, cell: Cell) -> Finding:
    """Submit the job and wait.

    Accuracies and weights left are the report's; MACs are counted in the file that comes back, as stock PyTorch loads
    it, by the counter that counts for the others.
    """
    spec = {
        "prune": {**cell.point.prune, **cell.terms["prune"]},
        "recover": cell.terms["recover"],
        "finalize": {"artifacts": ["pt2"], "latency": None},
        "seed": cell.seed,
        "device": "cpu",
    }
    subject = Subject(cell)
    train, validation, test = subject.part("train"), subject.part("validation"), subject.reported
    result = client.compress(subject.dense.program, train=train, validation=validation, test=test, spec=spec)
    report = result.report
    if report.sparsity is not None:
        left, total = 1 - report.sparsity.overall, report.sparsity.total
    else:
        with tempfile.TemporaryDirectory(prefix="secateur-accuracy-") as folder:
            small = _macs(result.fetch(folder)["model.pt2"], subject)
        total = _macs(subject.dense.program, subject)
        left = small / total
    metric = report.metric
    return Finding(dense=metric.dense, accuracy=metric.recovered, left=left, total=total, steps=_steps(report, subject))


def _macs(program: Path, subject: Subject) -> int:
    return count_macs(torch.export.load(program).module(), subject.dense.example)


def _steps(report: Report, subject: Subject) -> int:
    recover = report.provenance.spec.recover
    assert isinstance(recover, Training)
    epochs = sum(round.epochs for round in report.rounds)
    return epochs * training.course(subject.part("train"), recover, subject.cell.seed).steps()
