"""The exact k smallest entries of every row of a weight, all rows alike."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.pruning.keys import CHUNK, INTEGERS, MASKED
from worker.pruning.threshold import count


@torch.no_grad()
def keep_rows(scores: Tensor, mask: Tensor | None, amount: float) -> Tensor:
    """A mask (True keeps) that drops the round(amount * n) smallest of the n entries of each row, along axis 0.

    Scores are compared by magnitude, NaN above infinity; ties go to the lowest positions. Entries that `mask` drops
    already come first, then exact zeros: all of them go, also where a row has more. The mask is new and shaped as the
    scores.
    """
    kept = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
    length = scores[:1].numel()
    rows = max(1, CHUNK // max(1, length))
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        before = None if mask is None else mask[part].flatten(1)
        kept[part] = _kept(_keys(scores[part].flatten(1), before), count(amount, length)).view_as(kept[part])
    return kept


def _keys(scores: Tensor, mask: Tensor | None) -> Tensor:
    integer = INTEGERS[scores.dtype]
    keys = scores.detach().contiguous().view(integer).bitwise_and(torch.iinfo(integer).max)
    return keys if mask is None else keys.masked_fill_(~mask, MASKED)


def _kept(keys: Tensor, k: int) -> Tensor:
    """[rows, n], of keys in the same shape."""
    order = keys.sort(dim=1, stable=True).indices
    gone = (keys <= 0).sum(dim=1, keepdim=True).clamp_(min=k)
    places = torch.arange(keys.shape[1], device=keys.device).expand_as(keys)
    return torch.empty_like(keys, dtype=torch.bool).scatter_(1, order, places >= gone)
