"""The dense network that a pruned one learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from secateur.errors import BadFeature
from worker.program.observing import observed
from worker.program.program import Program
from worker.recovery.memory import memory_errors
from worker.recovery.running import run

T = TypeVar("T")
Part = Callable[[str, Tensor], Tensor]
"""What is left of the dense network's value at a node, given its name, in the pruned network."""


@dataclass(frozen=True)
class Answer:
    """What a network makes of a batch: all that the program returns, and the values at the nodes that are compared."""

    outputs: Any
    features: tuple[Tensor, ...] = ()


def whole(node: str, value: Tensor) -> Tensor:
    """All of it: nothing has become smaller."""
    return value


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode that is never trained; it costs its weights once more, and a forward pass a batch.

    With `features` the program returns their values beside its outputs, as `observed` makes it.
    """

    program: Callable[..., Any]
    device: torch.device
    features: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    """The mean square of each feature, by which its loss is divided."""
    left_of: Part = whole

    @classmethod
    def of(cls, dense: Program, device: torch.device, features: Sequence[str], inputs: Sequence[Tensor]) -> Self:
        """A copy of the dense network; `inputs` are examples to tell the size of its features from.

        Raises BadFeature for a node that is not there or has no numbers to learn from, DataMismatch, OutOfMemory.
        """
        with memory_errors():
            copied = dense.copy().to(device)
        copied.set_training(False)
        if not features:
            return cls(copied, device)
        teacher = cls(observed(copied, features), device, tuple(features))
        values = zip(features, teacher.answer(inputs).features, strict=True)
        return replace(teacher, scales=tuple(_mean_square(name, value) for name, value in values))

    def of_what_is_left(self, left_of: Part) -> Teacher:
        """The same for a network with fewer units."""
        return replace(self, left_of=left_of)

    @torch.no_grad()
    def answer(self, inputs: Sequence[Tensor]) -> Answer:
        """What the dense network makes of a batch; of its features what the pruned one still has."""
        answer = self.read(run(self.program, inputs, self.device))
        pairs = zip(self.features, answer.features, strict=True)
        return Answer(answer.outputs, tuple(self.left_of(name, value) for name, value in pairs))

    def read(self, result: Any) -> Answer:
        """The result of a program that returns what the teacher's does."""
        return Answer(*result) if self.features else Answer(result)

    def student(self, program: T) -> T | Program:
        """What to train in place of `program`: on the same tensors, and in training mode where it is another."""
        if not self.features:
            return program
        assert isinstance(program, Program)
        seen = observed(program, self.features)
        seen.set_training(True)
        return seen


def _mean_square(name: str, value: Tensor) -> float:
    size = value.float().square().mean().item() if value.is_floating_point() else math.nan
    if not (math.isfinite(size) and size > 0):
        found = "no floating-point numbers" if not value.is_floating_point() else f"a mean square of {size:.3g}"
        raise BadFeature(f"There is nothing to learn from the node {name!r}: it has {found} on the validation data.")
    return size
