"""Totals over examples, and how far a figure made of them would differ on other examples."""

from __future__ import annotations

import math

import torch


def tally_of(facts: torch.Tensor) -> torch.Tensor:
    """What `totals` and `standard_error` need of examples with `facts` (N, k), float64: (k + 1, k + 1), which adds up.

    The sums of all products of two facts, where the first fact is a 1 for the example itself.
    """
    extended = torch.cat([torch.ones_like(facts[:, :1]), facts], dim=1)
    return extended.T @ extended


def totals(tally: torch.Tensor) -> torch.Tensor:
    """The sum of each fact over all examples, (k)."""
    return tally[0, 1:]


def standard_error(tally: torch.Tensor, gradient: torch.Tensor) -> float:
    """Of a function of the totals with this gradient at them.

    The delta method over examples drawn independently (Cochran 1977): labels of one example may hang together as they
    like, as pixels of a picture and words of a sentence do.
    """
    examples, linear = tally[0, 0], tally[0, 1:] @ gradient
    variance = gradient @ tally[1:, 1:] @ gradient - linear * linear / examples
    return math.sqrt(max(float(variance), 0.0))
