"""Targets that are numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn import functional

from worker.recovery.objectives.contract import Score
from worker.recovery.objectives.tensors import at_least_float32, leaf, mismatch, require_labels


@dataclass(frozen=True)
class RegressionObjective:
    """Mean squared error and its root, over all elements; targets of the output's shape, or less a last axis of 1."""

    position: int
    metric: Literal["rmse"] = "rmse"
    higher_is_better: bool = False

    taught = False

    def select(self, outputs: Any) -> torch.Tensor:
        return leaf(outputs, self.position)

    def counted(self, target: torch.Tensor) -> float:
        return target.numel()

    def number(self, target: torch.Tensor) -> int:
        return target.numel()

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> float:
        if _without_last_one(target.shape) != _without_last_one(output.shape):
            raise mismatch("targets of the output's shape", output, target)
        return target.numel()

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        values = at_least_float32(output)
        return functional.mse_loss(values, target.to(values.dtype).reshape(values.shape))

    def distance(
        self, output: torch.Tensor, dense: torch.Tensor, target: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        return functional.mse_loss(at_least_float32(output), at_least_float32(dense))

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        squares = (output.double() - target.double().reshape(output.shape)).square()
        return torch.stack([torch.full_like(squares.sum(), squares.numel()), squares.sum(), squares.square().sum()])

    def score(self, tally: torch.Tensor) -> Score:
        """The standard error is that of the mean square, carried through the root (delta method)."""
        counted, squares, fourth_powers = tally.tolist()
        require_labels(counted)
        mean = squares / counted
        variance = max(fourth_powers / counted - mean * mean, 0.0)
        root = math.sqrt(mean)
        return Score(root, int(counted), math.sqrt(variance / counted) / (2 * root) if root > 0 else 0.0, mean)


def _without_last_one(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else tuple(shape)
