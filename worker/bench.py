"""What a job works with, laid out: the spec, the data in three parts, and how a program is judged on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from secateur.inspection import ModelInspection
from secateur.removal.latency import UnitTimes
from secateur.spec import JobSpec
from secateur.spec.task import DistillationOnly
from secateur.spec.training import Training
from worker.order import JobOrder
from worker.program.program import Program, Runnable
from worker.recovery.balance import weighed
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import Objective, Score
from worker.recovery.order import permutation
from worker.recovery.portion import Note, silent
from worker.recovery.split import split
from worker.recovery.teacher import Teacher


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same from the first round to the last."""

    spec: JobSpec
    inspection: ModelInspection
    objective: Objective
    train: Subset
    validation: Subset
    reported: Subset
    device: torch.device
    teacher: Teacher | None = None
    """The dense network, where something is learned from it or measured against it."""
    unit_times: UnitTimes | None = None
    """What units cost in time, where the job has measured it."""
    pause_if_asked: Callable[[], None] = lambda: None
    """Asked between pieces of work that take long in all; raises where the job is to pause."""

    @property
    def reported_on(self) -> Literal["test", "validation"]:
        """Which data the report's metric is measured on."""
        return "validation" if self.spec.data.test is None else "test"

    @property
    def batch_size(self) -> int:
        """How many examples are evaluated at once."""
        wanted = getattr(self.spec.recover, "batch_size", 64)
        return min(wanted, self.inspection.batch.maximum or wanted)

    def some(self, count: int) -> tuple[torch.Tensor, ...]:
        """Inputs of the first validation examples, again from the first where there are fewer than `count`."""
        inputs, _ = self.validation.batch(np.arange(count) % len(self.validation))
        return inputs

    def samples(self, batches: int, *key: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Inputs of so many batches of training examples, drawn by `key`; all of them where there are fewer.

        A last batch that is not whole is left out where there are others.
        """
        order = permutation(len(self.train), self.spec.seed, *key)
        size = min(self.batch_size, len(order))
        for start in range(0, min(batches * size, len(order) - size + 1), size):
            yield self.train.inputs(order[start : start + size])

    def score(
        self,
        program: Runnable,
        examples: Subset,
        on_batch: Callable[[int, int], None] | None = None,
        note: Note = silent,
    ) -> Score:
        """How good the program is on these examples; `on_batch` hears how many are done, of how many."""
        size, device = self.batch_size, self.device
        return evaluate(program, examples, self.objective, size, device, on_batch, note, self.teacher)


def lay_out(order: JobOrder, inspection: ModelInspection, dense: Program) -> Bench:
    """Open the data of a job and put everything in its place; `dense`, which is copied, is learned from.

    Raises:
        BadDataset, DataMismatch: the files or the spec do not fit together.
        BadFeature: the spec names a node that nothing can be learned from.
    """
    spec = order.spec
    device = torch.device("cuda" if order.device.startswith("cuda") else "cpu")
    train, validation = _parts(order, inspection)
    reported = validation if spec.data.test is None else _open(order, spec.data.test, inspection).all()
    objective = weighed(spec.task, inspection.outputs, train)
    bench = Bench(spec, inspection, objective, train, validation, reported, device)
    return replace(bench, teacher=_teacher(bench, dense))


def _teacher(bench: Bench, dense: Program) -> Teacher | None:
    """The dense network as a teacher; None where nobody asks it."""
    recover = bench.spec.recover
    distill = recover.distill if isinstance(recover, Training) else None
    if not bench.objective.taught and (distill is None or not distill.teaches):
        return None
    features = () if distill is None else distill.features
    return Teacher.of(dense, bench.device, features, bench.some(bench.batch_size))


def _parts(order: JobOrder, inspection: ModelInspection) -> tuple[Subset, Subset]:
    data = order.spec.data
    train = _open(order, data.train, inspection)
    if isinstance(data.validation, str):
        return train.all(), _open(order, data.validation, inspection).all()
    kept, aside = split(train, data.validation, order.spec.seed, stratify=order.spec.task.kind == "classification")
    return Subset(train, kept), Subset(train, aside)


def _open(order: JobOrder, dataset: str, inspection: ModelInspection) -> Dataset:
    data = order.spec.data
    target = None if isinstance(order.spec.task, DistillationOnly) else data.target
    return Dataset.open(Path(order.data[dataset]), data.inputs, target, inspection.inputs, data.transforms)
