"""From weights to masks: score, rank each pool, drop exactly its share, and every zero that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from secateur.allocation import Pool
from worker.pruning.blocks import keep_blocks
from worker.pruning.evidence import NOTHING, Evidence
from worker.pruning.importance import Importance, l1
from worker.pruning.keys import Ranked
from worker.pruning.masks import Masks
from worker.pruning.rows import keep_rows
from worker.pruning.threshold import count, keep


def select(
    weights: Mapping[str, Tensor],
    pools: Iterable[Pool],
    *,
    importance: Importance = l1,
    masks: Masks | None = None,
    evidence: Evidence = NOTHING,
) -> dict[str, Tensor]:
    """Masks for the weights of all pools: of a pool with n entries, exactly round(amount * n) are dropped.

    Of a pool by rows that is so for each row, and of one of blocks for each block.

    What `masks` drop stays dropped and counts first, then exact zeros, then the smallest scores; ties go to the lowest
    positions. Where more entries than that are masked or zero already, exactly those are dropped. The weights are not
    changed.
    """
    selected: dict[str, Tensor] = {}
    for pool in pools:
        scores = [importance(name, weights[name], evidence) for name in pool.names]
        before = [(masks or {}).get(name) for name in pool.names]
        selected.update(zip(pool.names, _kept(pool, scores, before), strict=True))
    return selected


def _kept(pool: Pool, scores: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
    if pool.by_row:
        return [keep_rows(score, mask, pool.amount) for score, mask in zip(scores, masks, strict=True)]
    if pool.blocks is not None:
        return [keep_blocks(score, mask, pool.blocks, pool.amount) for score, mask in zip(scores, masks, strict=True)]
    ranked = Ranked(scores, masks)
    return keep(ranked, count(pool.amount, len(ranked)))
