"""How the learning rate goes down within a round: the share of it that step `step` of `total` uses."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine(step: int, total: int) -> float:
    """From 1 towards 0 along half a cosine (Loshchilov & Hutter 2017)."""
    return (1 + math.cos(math.pi * step / total)) / 2


def constant(step: int, total: int) -> float:
    """Always 1."""
    return 1.0


CURVES: dict[str, Callable[[int, int], float]] = {"cosine": cosine, "constant": constant}
