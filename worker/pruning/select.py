"""From weights to masks: score, rank each pool, drop exactly its share, and every zero that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from secateur.allocation import Pool
from worker.pruning.importance import Importance, l1
from worker.pruning.keys import Ranked
from worker.pruning.masks import Masks
from worker.pruning.threshold import count, keep


def select(
    weights: Mapping[str, Tensor],
    pools: Iterable[Pool],
    *,
    importance: Importance = l1,
    masks: Masks | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Masks for the weights of all pools: of a pool with n entries, exactly round(amount * n) are dropped.

    What `masks` drop stays dropped and counts first, then exact zeros, then the smallest scores; ties go to the lowest
    positions. Where more entries than that are masked or zero already, exactly those are dropped. The weights are not
    changed.
    """
    selected: dict[str, Tensor] = {}
    for pool in pools:
        scores = [importance(name, weights[name], seed) for name in pool.names]
        ranked = Ranked(scores, [(masks or {}).get(name) for name in pool.names])
        selected.update(zip(pool.names, keep(ranked, count(pool.amount, len(ranked))), strict=True))
    return selected
