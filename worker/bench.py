"""What a job works on, laid out: the program, what of it is pruned, the data in three parts, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from secateur import layers
from secateur.inspection import ModelInspection
from secateur.spec import JobSpec
from worker.order import JobOrder
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import Objective, Score, objective_for
from worker.recovery.split import split


@dataclass(frozen=True)
class Bench:
    """Everything that stays the same from the first round to the last, except the numbers inside the program."""

    spec: JobSpec
    program: Program
    inspection: ModelInspection
    objective: Objective
    amounts: Mapping[str, float | None]  # chosen layer -> its own amount, or None for the common one
    train: Subset
    validation: Subset
    reported: Subset
    device: torch.device

    @property
    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The chosen layers' weights, in the program's order."""
        return {name: tensor for name, tensor in self.program.named_parameters() if name in self.amounts}

    @property
    def reported_on(self) -> Literal["test", "validation"]:
        """Which data the report's metric is measured on."""
        return "validation" if self.spec.data.test is None else "test"

    @property
    def batch_size(self) -> int:
        """How many examples are evaluated at once."""
        wanted = getattr(self.spec.recover, "batch_size", 64)
        return min(wanted, self.inspection.batch.maximum or wanted)

    def score(self, examples: Subset, on_batch: Callable[[int, int], None] | None = None) -> Score:
        """How good the program is on these examples, as it is now; `on_batch` hears how many are done, of how many."""
        return evaluate(self.program, examples, self.objective, self.batch_size, self.device, on_batch)


def lay_out(order: JobOrder) -> Bench:
    """Read the files of a job and put everything in its place.

    Raises:
        BadModel, BadDataset, DataMismatch, NothingMatches: the files or the spec do not fit together.
    """
    spec = order.spec
    program = read(Path(order.model))
    inspection = inspect(program)
    chosen = layers.choose(
        [layer.name for layer in inspection.layers],
        spec.prune.layers.include,
        spec.prune.layers.exclude,
        spec.prune.layers.override,
    )
    device = torch.device("cuda" if order.device.startswith("cuda") else "cpu")
    program.to(device)
    train, validation = _parts(order, inspection)
    reported = validation if spec.data.test is None else _open(order, spec.data.test, inspection).all()
    objective = objective_for(spec.task, inspection.outputs)
    return Bench(spec, program, inspection, objective, chosen, train, validation, reported, device)


def _parts(order: JobOrder, inspection: ModelInspection) -> tuple[Subset, Subset]:
    data = order.spec.data
    train = _open(order, data.train, inspection)
    if isinstance(data.validation, str):
        return train.all(), _open(order, data.validation, inspection).all()
    kept, aside = split(train, data.validation, order.spec.seed, stratify=order.spec.task.kind == "classification")
    return Subset(train, kept), Subset(train, aside)


def _open(order: JobOrder, dataset: str, inspection: ModelInspection) -> Dataset:
    data = order.spec.data
    return Dataset.open(Path(order.data[dataset]), data.inputs, data.target, inspection.inputs)
