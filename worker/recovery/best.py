"""The best weights of a round so far."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch

from worker.recovery.course import Trainable
from worker.recovery.objective import Score
from worker.recovery.state import restore_tensors


def tensors_of(program: Trainable) -> dict[str, torch.Tensor]:
    """All parameters and buffers of a program, the live ones."""
    return {**dict(program.named_parameters()), **dict(program.module.named_buffers())}


def better(score: Score, than: Score, higher_is_better: bool) -> bool:
    """Whether the metric is better or, where it is the same, the loss; a score that is no finite number never is."""
    return _rank(score, higher_is_better) > _rank(than, higher_is_better)


class Best:
    """A copy of parameters and buffers from the epoch with the best score."""

    def __init__(self, score: Score, epoch: int, tensors: dict[str, torch.Tensor], higher_is_better: bool) -> None:
        self.score, self.epoch, self.tensors = score, epoch, tensors
        self._higher_is_better = higher_is_better

    @classmethod
    def before(cls, program: Trainable, score: Score, higher_is_better: bool) -> Best:
        """The weights that training starts from: epoch 0."""
        return cls(score, 0, _copies(program), higher_is_better)

    def offer(self, program: Trainable, score: Score, epoch: int) -> None:
        """Takes the present weights if they score better; equal ones do not replace earlier ones."""
        if better(score, self.score, self._higher_is_better):
            self.score, self.epoch, self.tensors = score, epoch, _copies(program)

    def put_back(self, program: Trainable) -> None:
        """Makes the best weights the program's."""
        restore_tensors(tensors_of(program), self.tensors)

    def facts(self) -> dict[str, Any]:
        """Score and epoch, as JSON."""
        return {"epoch": self.epoch, "score": asdict(self.score)}


def _copies(program: Trainable) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors_of(program).items()}


def _rank(score: Score, higher_is_better: bool) -> tuple[float, float]:
    if not (math.isfinite(score.value) and math.isfinite(score.loss)):
        return -math.inf, -math.inf
    return (score.value if higher_is_better else -score.value), -score.loss
