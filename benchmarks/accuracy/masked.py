"""Weights set to zero as PyTorch's own users do it: torch.nn.utils.prune, and plain training."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import prune

from benchmarks.accuracy.cell import Cell, Finding
from benchmarks.accuracy.subject import Subject
from benchmarks.worth import training
from secateur.spec.recover import FineTune
from worker.pruning.schedules import amounts

PRUNED = (nn.Conv2d, nn.Linear)


def zeroed(cell: Cell) -> Finding:
    """`global_unstructured` by magnitude, in rounds, with the training of a job after each."""
    subject, spec = Subject(cell), FineTune.model_validate(cell.terms["recover"])
    network = subject.dense.load()
    weights = [(module, "weight") for module in network.modules() if isinstance(module, PRUNED)]
    total, gone = sum(module.weight.numel() for module, _ in weights), 0

    def take(amount: float) -> None:
        nonlocal gone
        more = round(amount * total) - gone
        prune.global_unstructured(weights, prune.L1Unstructured, amount=more)
        gone += more

    schedule = cell.terms["prune"]["schedule"]
    shares = amounts(schedule["rounds"], cell.point.amount, curve=schedule["curve"])
    dense = training.accuracy(network, subject.reported)
    steps = training.in_rounds(network, subject.part("train"), spec, cell.seed, shares, take)
    for module, name in weights:
        prune.remove(module, name)  # type: ignore[no-untyped-call]
    left = sum(int(module.weight.count_nonzero()) for module, _ in weights) / total
    accuracy = training.accuracy(network, subject.reported)
    return Finding(dense=dense, accuracy=accuracy, left=left, total=total, steps=steps)
