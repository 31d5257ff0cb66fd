"""What stays the same over all rounds of fine-tuning, and what a training program has to offer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from secateur.spec.training import Training
from worker.recovery.data import Subset
from worker.recovery.objective import Objective
from worker.recovery.portion import Note, silent
from worker.recovery.teacher import Teacher


class Trainable(Protocol):
    """A program whose parameters can be trained."""

    @property
    def module(self) -> torch.nn.Module: ...
    def __call__(self, *inputs: torch.Tensor) -> Any: ...
    def set_training(self, mode: bool, /) -> None: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...


Guard = Callable[[Mapping[str, torch.Tensor], Optimizer | None], AbstractContextManager[object]]
"""Makes a context in which tensors, given by parameter name, keep their pruned entries at exactly zero.

It clears them, and what the optimizer remembers of them, when entered, and their gradients whenever they are computed.
"""


@dataclass(frozen=True)
class Course:
    """Data, objective and recipe of all fine-tuning in a job."""

    train: Subset
    validation: Subset
    objective: Objective
    spec: Training
    seed: int
    device: torch.device
    at_once: int | None = None
    """The most examples that the program takes at once; a larger batch goes through it in parts."""
    note: Note = silent
    teacher: Teacher | None = None
    """The dense network, where the spec has something to learn from it."""

    @property
    def portion(self) -> int:
        """How many examples go through the program at once, as long as the memory is enough for them."""
        return min(self.spec.batch_size, self.at_once or self.spec.batch_size)

    def batches(self) -> int:
        """Batches of one epoch. A last one of one example is left out where there are others: batch norm needs two.

        So it is where several batches make a step, which batch norm sees one by one.
        """
        whole, rest = divmod(len(self.train), self.spec.batch_size)
        return max(whole + (rest > 1), 1)

    def steps(self) -> int:
        """Updates of the weights in one epoch, each from `accumulate` batches; the last may have less of them."""
        return math.ceil(self.batches() / self.spec.accumulate)

    def group(self, step: int) -> list[slice]:
        """The batches that make step `step` of an epoch, as parts of the epoch's order of examples."""
        size, first = self.spec.batch_size, step * self.spec.accumulate
        last = min(first + self.spec.accumulate, self.batches())
        return [slice(batch * size, (batch + 1) * size) for batch in range(first, last)]
