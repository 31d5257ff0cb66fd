"""How sparsity grows over the rounds."""

from __future__ import annotations

import math
from collections.abc import Callable

Curve = Callable[[float, float, float], float]
"""(share of the rounds done, sparsity at the start, sparsity at the end) -> sparsity."""


def one_shot(done: float, start: float, final: float) -> float:
    """Everything at once, in the first round."""
    return final


def linear(done: float, start: float, final: float) -> float:
    """Equal steps."""
    return start + (final - start) * done


def cubic(done: float, start: float, final: float) -> float:
    """Fast while there is much to spare, then slower: s_f + (s_i - s_f)(1 - t/n)**3 (Zhu & Gupta 2017)."""
    return final + (start - final) * math.pow(1 - done, 3)


def geometric(done: float, start: float, final: float) -> float:
    """Each round takes the same share of what is left (Han et al. 2015; Frankle & Carbin 2019)."""
    return 1 - (1 - start) * math.pow((1 - final) / (1 - start), done)


CURVES: dict[str, Curve] = {"one_shot": one_shot, "linear": linear, "cubic": cubic, "geometric": geometric}
"""Every curve by its name in the spec."""


def amounts(rounds: int, final: float, start: float = 0.0, curve: str = "cubic") -> list[float]:
    """The sparsity after each of `rounds` rounds, never falling, the last exactly `final`.

    `start` is the sparsity before the first round, 0 <= start <= 1. Where it is `final` or more there is nothing to
    add, and every round asks for `final`.
    """
    if start >= final:
        return [final] * rounds
    grown = [CURVES[curve](done / rounds, start, final) for done in range(1, rounds)]
    return [min(amount, final) for amount in grown] + [final]
