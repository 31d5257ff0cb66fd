"""Without labels: the outputs of the dense network are the targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from secateur.report import MetricName
from worker.recovery.objectives.classification import ClassificationObjective
from worker.recovery.objectives.regression import RegressionObjective
from worker.recovery.objectives.tensors import mismatch

EXPECTED = "the dense network's output"


class ByExample:
    """The dense network's output for the target: every example counts once, whatever there is in it."""

    taught = True

    def counted(self, target: torch.Tensor) -> float:
        return len(target)

    def number(self, target: torch.Tensor) -> int:
        return len(target)

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> float:
        if output.shape != target.shape:
            raise mismatch(EXPECTED, output, target)
        return len(output)


@dataclass(frozen=True)
class AgreementObjective(ByExample, ClassificationObjective):
    """KL(dense || pruned), and how often both name the same class first; the classes lie along `class_axis`.

    Every example weighs the same, and so do the places within one.
    """

    class_axis: int = 1
    metric: MetricName = "agreement"

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output.movedim(self.class_axis, -1)

    def places(self, target: torch.Tensor) -> torch.Tensor:
        """The classes that the dense network names first: all of them count."""
        return self.scored(target).argmax(dim=-1)

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        return self.distance(output, target, target, temperature=1.0)

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        losses = self.divergences(output, target, temperature=1.0).double()
        agreed = (self.places(output) == self.places(target)).sum()
        return torch.stack([torch.full_like(losses.sum(), len(losses)), losses.sum(), agreed.double()])


@dataclass(frozen=True)
class ImitationObjective(ByExample, RegressionObjective):
    """Mean squared difference to the dense network's output, and its root, over all elements."""
