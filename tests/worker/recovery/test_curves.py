"""The learning rates of a round are torch's schedulers', from one step up to many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler

from secateur.spec.recover import FineTune
from secateur.spec.training import Curve
from worker.recovery.curves import CURVES, rate_at

RATE = 0.3
TOTALS = [1, 2, 3, 4, 5, 6, 7, 10, 13, 40, 101]


def milestones(optimizer: Optimizer, total: int) -> lr_scheduler.LRScheduler:
    return lr_scheduler.MultiStepLR(optimizer, [math.ceil(total / 2), math.ceil(3 * total / 4)])


def one_cycle(optimizer: Optimizer, total: int) -> lr_scheduler.LRScheduler:
    return lr_scheduler.OneCycleLR(optimizer, RATE, total, cycle_momentum=False)


SCHEDULERS: dict[str, Callable[[Optimizer, int], lr_scheduler.LRScheduler]] = {
    "cosine": lr_scheduler.CosineAnnealingLR,
    "constant": lambda optimizer, total: lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=total),
    "step": milestones,
    "one_cycle": one_cycle,
}


def theirs(make: Callable[[Optimizer, int], lr_scheduler.LRScheduler], total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    scheduler, rates = make(optimizer, total), []
    for _ in range(total):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


def ours(total: int, **fields: Any) -> list[float]:
    spec = FineTune(learning_rate=RATE, **fields)
    return [rate_at(spec, step, total) for step in range(total)]


def test_every_curve_of_the_spec_is_there_and_has_a_reference() -> None:
    assert set(get_args(Curve)) == set(CURVES) == set(SCHEDULERS)


@pytest.mark.parametrize("curve", list(SCHEDULERS))
@pytest.mark.parametrize("total", TOTALS)
def test_the_rates_are_torchs(curve: str, total: int) -> None:
    assert ours(total, curve=curve) == pytest.approx(theirs(SCHEDULERS[curve], total), rel=1e-9)


def test_the_only_step_of_one_cycle_is_its_last() -> None:
    assert ours(1, curve="one_cycle") == pytest.approx([4e-6 * RATE])


@pytest.mark.parametrize("curve", ["cosine", "constant", "step"])
@pytest.mark.parametrize("warmup", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("total", TOTALS)
def test_a_warm_up_rises_linearly_to_the_curve(curve: str, warmup: int, total: int) -> None:
    shares = [
        rate / full
        for rate, full in zip(ours(total, curve=curve, warmup_steps=warmup), ours(total, curve=curve), strict=True)
    ]
    assert shares == pytest.approx([min(1.0, (step + 1) / warmup) for step in range(total)])


@pytest.mark.parametrize("warmup", [2, 5])
def test_the_warm_up_of_a_constant_rate_is_torchs(warmup: int) -> None:
    def rising(optimizer: Optimizer, total: int) -> lr_scheduler.LRScheduler:
        return lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)

    assert ours(12, curve="constant", warmup_steps=warmup) == pytest.approx(theirs(rising, 12))
