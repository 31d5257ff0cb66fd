"""Which epoch is the best: by metric, then by loss, then the earlier one; what is not finite never is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from worker.recovery.best import Best
from worker.recovery.objective import Score


def score(value: float, loss: float) -> Score:
    return Score(value, 10, 0.0, loss)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (score(0.6, 9.0), True),
        (score(0.5, 0.9), True),
        (score(0.5, 1.0), False),
        (score(0.5, 1.1), False),
        (score(0.4, 0.1), False),
        (score(math.nan, 0.1), False),
        (score(0.9, math.nan), False),
        (score(0.9, math.inf), False),
    ],
)
def test_a_score_is_taken_when_it_is_better(
    program_of: Any, higher_is_better: bool, offered: Score, taken: bool
) -> None:
    sign = 1 if higher_is_better else -1
    program = program_of(nn.BatchNorm1d(2))
    best = Best.before(program, score(sign * 0.5, 1.0), higher_is_better)
    with torch.no_grad():
        for tensor in program.module.state_dict().values():
            tensor.fill_(7)
    best.offer(program, score(sign * offered.value, offered.loss), 3)
    assert best.epoch == (3 if taken else 0)
    best.put_back(program)
    assert all(bool((tensor == 7).all()) == taken for tensor in program.module.state_dict().values())
