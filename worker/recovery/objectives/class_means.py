"""Tokens and pixels with a class each, judged by a mean over the classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch

from secateur.spec.task import IGNORED_LABEL
from worker.recovery.objectives.contract import Score
from worker.recovery.objectives.cross_entropy import CrossEntropy, fits_maps, fits_tokens
from worker.recovery.objectives.tensors import require_labels
from worker.recovery.objectives.totals import standard_error, tally_of, totals


@dataclass(frozen=True)
class ClassMean(CrossEntropy, ABC):
    """Cross-entropy and a mean over classes of a figure made of two totals of the class.

    These are its hits, and its marks: how often it is a label or predicted, where both at once are two marks. Classes
    without a mark are left out of the mean, as in torchmetrics.
    """

    @abstractmethod
    def figures(self, hits: torch.Tensor, marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The figure of each class, and its derivatives by hits and by marks; marks are above 0."""

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        labels, rows = self.places(target).flatten(1), self.scored(output)
        predicted = rows.argmax(dim=-1).flatten(1)
        counts = labels != IGNORED_LABEL
        hits = _per_class(labels, counts & (predicted == labels), rows.shape[-1])
        marks = _per_class(labels, counts, rows.shape[-1]) + _per_class(predicted, counts, rows.shape[-1])
        losses = self.losses(output, target).flatten(1).sum(dim=1)
        return tally_of(torch.cat([counts.sum(dim=1).double()[:, None], losses[:, None], hits, marks], dim=1))

    def score(self, tally: torch.Tensor) -> Score:
        """The standard error is that of the mean by the delta method over examples."""
        counted, loss = totals(tally)[:2].tolist()
        require_labels(counted)
        hits, marks = totals(tally)[2:].chunk(2)
        there = marks > 0
        figures, by_hits, by_marks = self.figures(hits, marks.clamp(min=1))
        gradient = torch.cat([torch.zeros_like(tally[0, :2]), by_hits * there, by_marks * there]) / there.sum()
        value = float((figures * there).sum() / there.sum())
        return Score(value, int(counted), standard_error(tally, gradient), loss / counted)


@dataclass(frozen=True)
class TokenClassificationObjective(ClassMean):
    """Macro F1: twice the hits over the marks; outputs (N, positions, classes), labels (N, positions)."""

    metric: Literal["macro_f1"] = "macro_f1"
    higher_is_better: bool = True

    expects = "integer labels (examples, positions) for an output (examples, positions, classes)"

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output

    def places(self, target: torch.Tensor) -> torch.Tensor:
        return target

    def fits(self, output: torch.Tensor, target: torch.Tensor) -> bool:
        return fits_tokens(output, target)

    def figures(self, hits: torch.Tensor, marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return 2 * hits / marks, 2 / marks, -2 * hits / marks.square()


@dataclass(frozen=True)
class SegmentationObjective(ClassMean):
    """Mean intersection over union: the hits over what is left of the marks; outputs (N, classes, height, width)."""

    ignore_label: int = IGNORED_LABEL
    metric: Literal["mean_iou"] = "mean_iou"
    higher_is_better: bool = True

    expects = "integer labels (examples, height, width) for an output (examples, classes, height, width)"

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output.movedim(1, -1)

    def places(self, target: torch.Tensor) -> torch.Tensor:
        return target.masked_fill(target == self.ignore_label, IGNORED_LABEL)

    def fits(self, output: torch.Tensor, target: torch.Tensor) -> bool:
        return output.dim() == 4 and fits_maps(output, target)

    def figures(self, hits: torch.Tensor, marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        union = marks - hits
        return hits / union, marks / union.square(), -hits / union.square()


def _per_class(classes: torch.Tensor, chosen: torch.Tensor, number: int) -> torch.Tensor:
    """How often each class occurs among the chosen entries of each row, (N, number)."""
    rows = torch.arange(len(classes), device=classes.device)[:, None] * number
    counts = torch.bincount((rows + classes)[chosen], minlength=len(classes) * number)
    return counts.reshape(len(classes), number).double()
