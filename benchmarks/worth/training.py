"""The training that everything here shares: the service's own loop, also around ordinary modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.training import Training
from worker.recovery.columns import ColumnFile
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import ClassificationObjective
from worker.recovery.train import fine_tune

CPU = torch.device("cpu")
LOGITS = ClassificationObjective(position=0, ends_in="logits")


@dataclass(frozen=True)
class Plain:
    """A module as the training loop wants programs to be."""

    module: nn.Module

    def __call__(self, *inputs: Tensor) -> Any:
        """The module's outputs."""
        return self.module(*inputs)

    def set_training(self, mode: bool, /) -> None:
        """Training or evaluation mode."""
        self.module.train(mode)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Each parameter once."""
        return self.module.named_parameters()


def examples(path: Path) -> Subset:
    """All examples of a file that `images.write` wrote."""
    _, *shape = ColumnFile(path).columns["image"].shape
    image = TensorInfo(name="image", dtype="float32", shape=("batch", *shape))
    return Dataset.open(path, {}, "target", [image]).all()


def accuracy(network: nn.Module, path: Path) -> float:
    """The share of a file's images that the network gets right."""
    return evaluate(Plain(network), examples(path), LOGITS, 64, CPU).value


def course(train: Path, spec: Training, seed: int) -> Course:
    """Training on the images of a file, judged by the validation images beside it."""
    return Course(examples(train), examples(train.with_stem("validation")), LOGITS, spec, seed, CPU)


def train(network: nn.Module, on: Course, round_index: int, epochs: int) -> None:
    """One round; the best epoch is kept, as in a job."""
    fine_tune(Plain(network), on, unguarded, round_index, epochs)


def in_rounds(
    network: nn.Module, images: Path, spec: FineTune, seed: int, amounts: Sequence[float], take: Callable[[float], None]
) -> int:
    """`take` each of the amounts, and train after each as a job does; how many steps that were."""
    on, steps = course(images, spec, seed), 0
    for number, amount in enumerate(amounts, start=1):
        take(amount)
        train(network, on, number, epochs := spec.epochs_in(number, len(amounts)))
        steps += epochs * on.steps()
    return steps


def unguarded(weights: Mapping[str, Tensor], optimizer: Optimizer | None) -> AbstractContextManager[None]:
    """A network without masks has nothing to keep at zero."""
    return nullcontext()
