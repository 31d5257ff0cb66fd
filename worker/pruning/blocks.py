"""N:M masks: within each block of consecutive entries along one axis, the same number goes.

Only the entries of one block are sorted, many blocks at a time: a chunk of keys and their order is all the memory that
is needed besides the mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from secateur.allocation import Blocks
from worker.pruning.keys import CHUNK, INTEGERS, MASKED
from worker.pruning.threshold import count


@torch.no_grad()
def keep_blocks(score: Tensor, mask: Tensor | None, blocks: Blocks, amount: float) -> Tensor:
    """A mask (True keeps) that drops the smallest count(amount, blocks.of) entries of each block.

    In each block what is masked already comes first, then exact zeros, then the smallest magnitudes, NaN above
    infinity; ties go to the lowest positions. What is masked or zero goes in any case, also outside blocks.
    """
    kept = torch.ne(score, 0)
    if mask is not None:
        kept.bitwise_and_(mask)
    number, views = count(amount, blocks.of), (in_blocks(score, blocks), in_blocks(kept, blocks))
    for scores, keeps in _chunks(views) if number else ():
        keys = _keys(scores).masked_fill_(~keeps, MASKED)
        first = keys.sort(dim=-1, stable=True).indices[..., :number]
        keeps.copy_(keeps.scatter(-1, first, False))
    return kept


@torch.no_grad()
def fullest(weight: Tensor, blocks: Blocks) -> int:
    """The most entries that are not zero in any block; 0 where there is no block."""
    parts = _chunks((in_blocks(weight, blocks),))
    return max((int(part.ne(0).sum(-1).max()) for (part,) in parts), default=0)


def in_blocks(tensor: Tensor, blocks: Blocks) -> Tensor:
    """A view (..., number of blocks, of) of all entries that belong to a block; the axis comes last."""
    along = tensor.detach().movedim(blocks.axis, -1)
    number = along.shape[-1] // blocks.of
    return along.narrow(-1, 0, number * blocks.of).view(*along.shape[:-1], number, blocks.of)


def _chunks(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same parts of tensors (..., of) of one shape, of at most CHUNK entries each."""
    first = tensors[0]
    if first.numel() == 0:
        return
    rows = CHUNK // first[0].numel()
    if rows:
        yield from zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)
        return
    for row in zip(*tensors, strict=True):
        yield from _chunks(row)


def _keys(scores: Tensor) -> Tensor:
    """Magnitudes as integers that order as they do."""
    integer = INTEGERS[scores.dtype]
    return scores.contiguous().view(integer).bitwise_and(torch.iinfo(integer).max)
