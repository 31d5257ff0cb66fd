"""Labels of several classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

from secateur.errors import LabelsOutOfRange
from secateur.spec.task import IGNORED_LABEL
from worker.recovery.objectives.contract import Score
from worker.recovery.objectives.tensors import at_least_float32, leaf, mismatch, require_labels


@dataclass(frozen=True)
class ClassificationObjective:
    """Cross-entropy and accuracy; outputs (N, classes, ...), labels (N, ...) with -100 for "not scored"."""

    position: int
    ends_in: Literal["logits", "softmax", "log_softmax"]
    metric: Literal["accuracy"] = "accuracy"
    higher_is_better: bool = True

    def select(self, outputs: Any) -> torch.Tensor:
        return leaf(outputs, self.position)

    def counted(self, target: torch.Tensor) -> int:
        return int((target != IGNORED_LABEL).sum())

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> int:
        if output.dim() < 2 or target.shape != output.shape[:1] + output.shape[2:] or target.is_floating_point():
            raise mismatch("integer labels for an output (examples, classes, ...)", output, target)
        scored = target[target != IGNORED_LABEL]
        if len(scored) and (int(scored.min()) < 0 or int(scored.max()) >= output.shape[1]):
            raise LabelsOutOfRange(
                f"The labels reach from {int(scored.min())} to {int(scored.max())}; the program has {output.shape[1]} "
                f"outputs, so 0 to {output.shape[1] - 1} (or {IGNORED_LABEL} for examples to ignore) is expected."
            )
        return len(scored)

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        labels = target.reshape(-1)
        scores = self._log_probabilities(output)
        loss = functional.nll_loss(scores, labels, ignore_index=IGNORED_LABEL)
        if smoothing == 0:
            return loss
        counts = labels != IGNORED_LABEL
        spread = -scores.mean(dim=1).masked_fill(~counts, 0.0).sum() / counts.sum()
        return (1 - smoothing) * loss + smoothing * spread

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        labels = target.reshape(-1)
        scores = self._log_probabilities(output)
        losses = functional.nll_loss(scores, labels, ignore_index=IGNORED_LABEL, reduction="none")
        counted = (labels != IGNORED_LABEL).sum()
        correct = (_by_class(output).argmax(dim=1) == labels).sum()
        return torch.stack([counted.double(), losses.double().sum(), correct.double()])

    def score(self, tally: torch.Tensor) -> Score:
        counted, loss, correct = tally.tolist()
        require_labels(counted)
        share = correct / counted
        return Score(share, int(counted), math.sqrt(share * (1 - share) / counted), loss / counted)

    def _log_probabilities(self, output: torch.Tensor) -> torch.Tensor:
        values = at_least_float32(_by_class(output))
        if self.ends_in == "log_softmax":
            return values
        if self.ends_in == "softmax":
            return values.clamp(min=torch.finfo(torch.float32).tiny).log()
        return functional.log_softmax(values, dim=1)


def _by_class(output: torch.Tensor) -> torch.Tensor:
    """(N, classes, ...) as (labels, classes): the loss over rows is deterministic on CUDA, the one over maps is not."""
    return output.movedim(1, -1).reshape(-1, output.shape[1])
