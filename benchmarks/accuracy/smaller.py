"""MACs cut away with Torch-Pruning, and plain training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.accuracy.cell import Cell, Finding
from benchmarks.accuracy.subject import Subject
from benchmarks.worth import peer, training
from benchmarks.worth.macs import count_macs
from secateur.spec.recover import FineTune
from worker.pruning.schedules import amounts

BATCH = 250


def cut(cell: Cell, method: peer.Method) -> Finding:
    """In rounds, with the training of a job after each; all training images give the gradients that Taylor reads."""
    subject, spec = Subject(cell), FineTune.model_validate(cell.terms["recover"])
    network, example = subject.dense.load(), subject.dense.example
    macs = count_macs(network, example)

    def take(amount: float) -> None:
        if method is peer.GROUP_TAYLOR:
            _gradients(network, subject.part("train"))
        peer.prune(network, example, (1 - amount) * macs, method)
        network.zero_grad()

    schedule = cell.terms["prune"]["schedule"]
    shares = amounts(schedule["rounds"], cell.point.amount, curve=schedule["curve"])
    dense = training.accuracy(network, subject.reported)
    steps = training.in_rounds(network, subject.part("train"), spec, cell.seed, shares, take)
    left = count_macs(network, example) / macs
    accuracy = training.accuracy(network, subject.reported)
    return Finding(dense=dense, accuracy=accuracy, left=left, total=macs, steps=steps)


def _gradients(network: nn.Module, images: Path) -> None:
    examples = training.examples(images)
    network.eval().zero_grad()
    for rows in np.split(np.arange(len(examples)), len(examples) // BATCH):
        inputs, target = examples.batch(rows)
        nn.functional.cross_entropy(network(*inputs), target).backward()  # type: ignore[no-untyped-call]
