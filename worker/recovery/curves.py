"""How the learning rate goes within a round: the share of it that step `step` of `total` (0 to total - 1) uses."""

from __future__ import annotations

import math
from collections.abc import Callable

from secateur.spec.training import Training

RISING = 0.3
FIRST = 1 / 25
LAST = FIRST / 1e4


def cosine(step: int, total: int) -> float:
    """From 1 towards 0 along half a cosine (Loshchilov & Hutter 2017)."""
    return (1 + math.cos(math.pi * step / total)) / 2


def constant(step: int, total: int) -> float:
    """Always 1."""
    return 1.0


def stairs(step: int, total: int) -> float:
    """1, a tenth from half of the steps on, a hundredth from three quarters on (He et al. 2016)."""
    return 0.01 if 4 * step >= 3 * total else 0.1 if 2 * step >= total else 1.0


def one_cycle(step: int, total: int) -> float:
    """Along half cosines from 1/25 to 1 in 30 % of the steps, then to 4e-6 (Smith & Topin 2018).

    As torch.optim.lr_scheduler.OneCycleLR has it: the top lies between two steps where 30 % of them are no whole
    number. With less than 4 steps it lies before the first: they only go down, and a single one uses 4e-6.
    """
    top = RISING * total - 1
    if step <= top:
        return _between(FIRST, 1.0, step / top)
    return _between(1.0, LAST, (step - top) / (total - 1 - top))


CURVES: dict[str, Callable[[int, int], float]] = {
    "cosine": cosine,
    "constant": constant,
    "step": stairs,
    "one_cycle": one_cycle,
}


def rate_at(spec: Training, step: int, total: int) -> float:
    """The learning rate of a step: that of the curve, of which a warm-up takes its share (Goyal et al. 2017)."""
    warmth = min(1.0, (step + 1) / spec.warmup_steps) if spec.warmup_steps > 0 else 1.0
    return spec.rate * CURVES[spec.curve](step, total) * warmth


def _between(start: float, end: float, way: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))
