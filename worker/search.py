"""The search for the smallest network within a budget: which amount to try next, from what was tried so far.

Amounts grow along a ladder until one costs too much; then the gap between the last good and the first bad one is
halved, in the share that is left, until it is small or the training that the search may spend is spent. Each trial
starts from the last good network, so nothing is trained twice. The next step follows from the trials alone, and so a
resumed search goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

RESOLUTION = 0.1
"""The gap, as a share of what the good network has left, at which the search is content."""

COST = 3
"""The search may train so many times as long as a single job of the same recipe."""


@dataclass(frozen=True)
class Trial:
    """An amount that was tried, and whether the network that it left was within the budget."""

    amount: float
    good: bool


def next_amount(ladder: Sequence[float], trials: Sequence[Trial]) -> float | None:
    """The amount to try next; None when the search is over. `ladder` rises to the largest amount that may be tried."""
    good = max((trial.amount for trial in trials if trial.good), default=0.0)
    bad = min((trial.amount for trial in trials if not trial.good), default=None)
    if bad is None:
        return next((amount for amount in ladder if amount > good), None)
    left, too_little = 1 - good, 1 - bad
    if left - too_little <= RESOLUTION * left:
        return None
    return 1 - sqrt(left * too_little)


def affordable(single: int, spent: int, trial: int) -> bool:
    """Whether a trial of so many epochs may begin, when a single job takes `single` and the search has `spent`."""
    return spent + trial <= COST * single
