"""Evaluation: the same score however it is cut, in evaluation mode, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import EmptyDataset, OutOfMemory
from secateur.inspection import TensorInfo
from secateur.spec.task import Classification
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import Objective, objective_for

CPU = torch.device("cpu")


@pytest.fixture
def objective() -> Objective:
    return objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])


@pytest.mark.parametrize("batch_size", [1, 7, 30, 64])
def test_the_score_does_not_depend_on_the_batches(
    make_dataset: Callable[..., Dataset], program_of: Any, objective: Objective, batch_size: int
) -> None:
    x, y = torch.randn(30, 5), torch.randint(0, 3, (30,))
    module = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(0.9))
    progress: list[tuple[int, int]] = []
    score = evaluate(
        program_of(module), make_dataset(x, y).all(), objective, batch_size, CPU, lambda *done: progress.append(done)
    )
    with torch.no_grad():
        right = int((module.eval()(x).argmax(1) == y).sum())
    assert score.value == right / 30
    assert progress[-1] == (30, 30)
    assert len(progress) == -(-30 // batch_size)


def test_only_the_chosen_examples_are_scored(
    make_dataset: Callable[..., Dataset], program_of: Any, objective: Objective
) -> None:
    x = torch.eye(3).repeat(4, 1)
    y = torch.tensor([0, 1, 2] * 2 + [1, 2, 0] * 2)
    dataset = make_dataset(x, y)
    halves = (np.arange(6), np.arange(6, 12))
    scores = [evaluate(program_of(nn.Identity()), Subset(dataset, half), objective, 4, CPU).value for half in halves]
    assert scores == [1.0, 0.0]


def test_no_example_is_an_error(make_dataset: Callable[..., Dataset], program_of: Any, objective: Objective) -> None:
    dataset = make_dataset(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(EmptyDataset):
        evaluate(program_of(nn.Identity()), Subset(dataset, np.arange(0)), objective, 4, CPU)


def test_too_little_memory_is_said_so(
    make_dataset: Callable[..., Dataset], program_of: Any, objective: Objective
) -> None:
    class Greedy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(2**57)

    dataset = make_dataset(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(OutOfMemory, match="smaller batch size"):
        evaluate(program_of(Greedy()), dataset.all(), objective, 4, CPU)
