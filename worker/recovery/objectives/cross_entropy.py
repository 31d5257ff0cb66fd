"""What all tasks with integer labels have in common: the loss, and what counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

from secateur.errors import LabelsOutOfRange
from secateur.spec.task import IGNORED_LABEL
from worker.recovery.objectives.tensors import at_least_float32, leaf, mismatch

Ending = Literal["logits", "softmax", "log_softmax"]


@dataclass(frozen=True)
class CrossEntropy(ABC):
    """Cross-entropy of an output of classes. `weights` has one number a class and weighs its labels in the loss.

    A subclass says how outputs and labels lie, and what they are measured by.
    """

    position: int
    ends_in: Ending
    weights: tuple[float, ...] | None = None

    expects = "integer labels for an output (examples, classes, ...)"
    taught = False

    @abstractmethod
    def scored(self, output: torch.Tensor) -> torch.Tensor:
        """The part of an output that is scored, (N, ..., classes). Raises IndexError where there are too few axes."""

    @abstractmethod
    def places(self, target: torch.Tensor) -> torch.Tensor:
        """The labels of `scored`, (N, ...), with -100 for each that does not count."""

    def select(self, outputs: Any) -> torch.Tensor:
        return leaf(outputs, self.position)

    def counted(self, target: torch.Tensor) -> float:
        if self.weights is None:
            return self.number(target)
        labels = self.places(target)
        labels = labels[labels != IGNORED_LABEL]
        require_range(labels, len(self.weights))
        return float(torch.tensor(self.weights, dtype=torch.float64)[labels].sum())

    def number(self, target: torch.Tensor) -> int:
        return int((self.places(target) != IGNORED_LABEL).sum())

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> float:
        if not self.fits(output, target):
            raise mismatch(self.expects, output, target)
        labels, rows = self.places(target), self.scored(output)
        require_range(labels[labels != IGNORED_LABEL], rows.shape[-1])
        return self.counted(target)

    @abstractmethod
    def fits(self, output: torch.Tensor, target: torch.Tensor) -> bool:
        """Whether output and labels lie as they should."""

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        labels = self.places(target).reshape(-1)
        scores = self.log_probabilities(output)
        weights = self._weights(scores)
        loss = functional.nll_loss(scores, labels, weights, ignore_index=IGNORED_LABEL)
        if smoothing == 0:
            return loss
        counts = labels != IGNORED_LABEL
        weighed = scores if weights is None else scores * weights
        total = counts if weights is None else weights[labels.clamp(min=0)].masked_fill(~counts, 0.0)
        spread = -weighed.mean(dim=1).masked_fill(~counts, 0.0).sum() / total.sum()
        return (1 - smoothing) * loss + smoothing * spread

    def distance(
        self, output: torch.Tensor, dense: torch.Tensor, target: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        counts = self.places(target).reshape(-1) != IGNORED_LABEL
        return self.divergences(output, dense, temperature).masked_fill(~counts, 0.0).sum() / counts.sum()

    def divergences(self, output: torch.Tensor, dense: torch.Tensor, temperature: float) -> torch.Tensor:
        """temperature^2 * KL(dense || output) of every label, shape (labels,); a class that dense excludes adds 0."""
        ours, theirs = (
            functional.log_softmax(self.log_probabilities(scores) / temperature, dim=1) for scores in (output, dense)
        )
        shares = theirs.exp()
        return temperature**2 * torch.where(shares > 0, shares * (theirs - ours), 0.0).sum(dim=1)

    def losses(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The plain loss of every label, of the shape of `places` and float64; 0 for those that do not count."""
        labels = self.places(target)
        scores = self.log_probabilities(output)
        each = functional.nll_loss(scores, labels.reshape(-1), ignore_index=IGNORED_LABEL, reduction="none")
        return each.double().reshape(labels.shape)

    def log_probabilities(self, output: torch.Tensor) -> torch.Tensor:
        """(labels, classes): the loss over rows is deterministic on CUDA, the one over maps is not."""
        rows = self.scored(output)
        values = at_least_float32(rows.reshape(-1, rows.shape[-1]))
        if self.ends_in == "log_softmax":
            return values
        if self.ends_in == "softmax":
            return values.clamp(min=torch.finfo(torch.float32).tiny).log()
        return functional.log_softmax(values, dim=1)

    def _weights(self, scores: torch.Tensor) -> torch.Tensor | None:
        if self.weights is None:
            return None
        return torch.tensor(self.weights, dtype=scores.dtype, device=scores.device)


def require_range(labels: torch.Tensor, classes: int) -> None:
    """Raises LabelsOutOfRange where a label is no class."""
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise LabelsOutOfRange(
            f"The labels reach from {int(labels.min())} to {int(labels.max())}; the program has {classes} "
            f"outputs, so 0 to {classes - 1} (or {IGNORED_LABEL} for examples to ignore) is expected."
        )


def fits_maps(output: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether integer labels (N, ...) belong to an output (N, classes, ...)."""
    return output.dim() >= 2 and target.shape == output.shape[:1] + output.shape[2:] and not target.is_floating_point()


def fits_tokens(output: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether integer labels (N, positions) belong to an output (N, positions, classes)."""
    return output.dim() == 3 and target.shape == output.shape[:2] and not target.is_floating_point()
