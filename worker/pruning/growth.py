"""How the share that is taken from each pool grows over the rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from secateur.allocation import Pool
from worker.pruning.masks import Masks
from worker.pruning.schedules import amounts


def rounds(
    pools: list[Pool], weights: Mapping[str, Tensor], masks: Masks | None = None, *, number: int, curve: str
) -> list[list[Pool]]:
    """The pools of each of `number` rounds: every pool grows from the zeros that it has already to its own amount."""
    grown = [amounts(number, pool.amount, sparsity(pool, weights, masks), curve) for pool in pools]
    return [
        [replace(pool, amount=step) for pool, step in zip(pools, steps, strict=True)]
        for steps in zip(*grown, strict=True)
    ]


def sparsity(pool: Pool, weights: Mapping[str, Tensor], masks: Masks | None = None) -> float:
    """The share of the pool's entries that are exactly zero or masked; 0 where there are no entries."""
    zeros = entries = 0
    for name in pool.names:
        weight, mask = weights[name].detach(), (masks or {}).get(name)
        left = weight if mask is None else (weight != 0) & mask
        zeros, entries = zeros + weight.numel() - int(left.count_nonzero()), entries + weight.numel()
    return zeros / max(entries, 1)
