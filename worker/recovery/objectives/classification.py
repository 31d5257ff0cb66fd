"""Labels of several classes, judged by how many are right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from secateur.report import MetricName
from secateur.spec.task import IGNORED_LABEL
from worker.recovery.objectives.contract import Score
from worker.recovery.objectives.cross_entropy import CrossEntropy, fits_maps
from worker.recovery.objectives.tensors import require_labels


@dataclass(frozen=True)
class ClassificationObjective(CrossEntropy):
    """Cross-entropy and accuracy; outputs (N, classes, ...), labels (N, ...) with -100 for "not scored"."""

    metric: MetricName = "accuracy"
    higher_is_better: bool = True

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output.movedim(1, -1)

    def places(self, target: torch.Tensor) -> torch.Tensor:
        return target

    def fits(self, output: torch.Tensor, target: torch.Tensor) -> bool:
        return fits_maps(output, target)

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        counted = (target != IGNORED_LABEL).sum()
        correct = (output.argmax(dim=1) == target).sum()
        return torch.stack([counted.double(), self.losses(output, target).sum(), correct.double()])

    def score(self, tally: torch.Tensor) -> Score:
        """The standard error is that of a share of so many independent labels."""
        counted, loss, correct = tally.tolist()
        require_labels(counted)
        share = correct / counted
        return Score(share, int(counted), math.sqrt(share * (1 - share) / counted), loss / counted)
