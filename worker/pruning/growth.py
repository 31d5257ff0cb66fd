"""How the share that is taken from each pool grows over the rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from secateur.allocation import Pool
from worker.pruning.masks import Masks
from worker.pruning.schedules import amounts


class Filled(NamedTuple):
    """How many entries a weight has, and how many of them are exactly zero or masked."""

    zeros: int
    entries: int


def filled(weights: Mapping[str, Tensor], masks: Masks | None = None) -> dict[str, Filled]:
    """Of each weight, as it is now."""
    return {name: _filled(weight.detach(), (masks or {}).get(name)) for name, weight in weights.items()}


def rounds(pools: list[Pool], before: Mapping[str, Filled], *, number: int, curve: str) -> list[list[Pool]]:
    """The pools of each of `number` rounds: every pool grows from the zeros that it had `before` to its own amount."""
    grown = [amounts(number, pool.amount, sparsity(pool, before), curve) for pool in pools]
    return [
        [replace(pool, amount=step) for pool, step in zip(pools, steps, strict=True)]
        for steps in zip(*grown, strict=True)
    ]


def sparsity(pool: Pool, before: Mapping[str, Filled]) -> float:
    """The share of the pool's entries that are zero; 0 where there are no entries."""
    found = [before[name] for name in pool.names]
    return sum(each.zeros for each in found) / max(sum(each.entries for each in found), 1)


def _filled(weight: Tensor, mask: Tensor | None) -> Filled:
    left = weight if mask is None else (weight != 0) & mask
    return Filled(weight.numel() - int(left.count_nonzero()), weight.numel())
