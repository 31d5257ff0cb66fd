"""The exact k smallest of many entries, without sorting them and without a copy of them.

A sample brackets the cut between two keys. One pass over chunks that stay in cache then writes the masks as if the cut
were at the lower end, counts what lies below, and remembers what lies between, about one percent. The cut is selected
among those, and their flags are written again. Where that fails, because many entries tie or the sample was unlucky,
the cut is found digit by digit (radix selection): slower, in the same memory whatever comes. Both are exact; the
sample decides how long it takes, never what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from worker.pruning.keys import MASKED, Ranked

SAMPLE = 1 << 17
"""Keys drawn to bracket the cut; what has no more entries than this is all between the two."""

_DEVIATIONS = 3.5
"""Half the bracket's width in standard deviations of the sample's rank: it misses about once in 2000 times."""

_CROWDED = 16
"""Remembering more than one entry in so many would take too much memory."""

_DIGIT_BITS = 16


class Cut(NamedTuple):
    """Every entry with a smaller key goes, and of the `tied` entries that have exactly this key the first `ties`."""

    key: int
    ties: int
    tied: int

    @classmethod
    def at(cls, key: int, ties: int, tied: int) -> Cut:
        """A cut through those that tie; where they are zeros all of them go, or training would revive the others."""
        return cls(key, tied if key == 0 else ties, tied)


class Near(NamedTuple):
    """What is near the cut in one chunk, as rows of neighbours: `keys` and `flags` [rows, width] from rows `where`."""

    where: Tensor
    keys: Tensor
    flags: Tensor

    @classmethod
    def of(cls, keys: Tensor, flags: Tensor) -> Near:
        """The rows with any flag set. Eight flags are looked up as one word: nearly all words are empty."""
        width, word = (8, torch.int64) if keys.numel() % 8 == 0 else (1, torch.bool)
        where = flags.view(word).nonzero().squeeze(1)
        rows = (tensor.view(tensor.numel() // width, width).index_select(0, where) for tensor in (keys, flags))
        return cls(where, *rows)

    def write(self, mask: Tensor, kept: Tensor) -> None:
        """Set these rows of the chunk's part of a mask."""
        width = self.keys.shape[1]
        mask.view(mask.numel() // width, width).index_copy_(0, self.where, kept)


def count(amount: float, entries: int) -> int:
    """How many of `entries` an `amount` takes: Python's round, so a half goes to the even neighbour, as in PyTorch."""
    return round(amount * entries)


@torch.no_grad()
def keep(ranked: Ranked, k: int, *, sample: int = SAMPLE) -> list[Tensor]:
    """Masks (True keeps) that drop the `k` smallest entries; ties go to the lowest positions.

    Entries that are masked already come first, then exact zeros: all of them go, also where there are more than `k`,
    and then nothing else. The masks are new, contiguous and shaped as the scores.
    """
    masks = [torch.empty(score.shape, dtype=torch.bool, device=score.device) for score in ranked.scores]
    if k <= ranked.masked:
        for mask, score, before in zip(masks, ranked.scores, ranked.masks, strict=True):
            torch.ne(score, 0, out=mask)
            if before is not None:
                mask.bitwise_and_(before)
        return masks
    bracket = _bracket(ranked, k, sample)
    if bracket is None or not _select(ranked, k, *bracket, masks):
        _write(ranked, _digits(ranked, k), masks)
    return masks


def _bracket(ranked: Ranked, k: int, size: int) -> tuple[int, int] | None:
    """Two keys that the cut is very likely between; None where too much lies between them."""
    if len(ranked) <= size:
        return MASKED, ranked.largest
    drawn = ranked.sample(size)
    share, size = k / len(ranked), drawn.numel()
    margin = _DEVIATIONS * math.sqrt(size * share * (1 - share)) + 1
    first, last = math.floor(share * size - margin), math.ceil(share * size + margin)
    low = MASKED if first < 1 else int(drawn.kthvalue(first).values)
    high = ranked.largest if last > size else int(drawn.kthvalue(last).values)
    crowd = int(((drawn >= low) & (drawn <= high)).count_nonzero())
    return (low, high) if crowd * _CROWDED <= size else None


def _select(ranked: Ranked, k: int, low: int, high: int, masks: list[Tensor]) -> bool:
    """Write the masks if the cut lies in [low, high]; else return False, with the masks in no useful state."""
    below, found, step = 0, [], ranked.buffer()
    flags = torch.empty(ranked.chunk, dtype=torch.bool, device=ranked.device)
    for mask, keys in zip(ranked.split(masks), ranked.chunks(), strict=True):
        size = keys.numel()
        # Comparing into the keys' own type and converting takes half the time of comparing into booleans.
        mask.copy_(torch.ge(keys, low, out=step[:size]))
        below += size - int(step[:size].sum(dtype=torch.int32))
        flags[:size].copy_(torch.gt(keys, high, out=step[:size])).bitwise_xor_(mask)
        found.append(Near.of(keys, flags[:size]))
    inside = torch.cat([near.keys.masked_select(near.flags) for near in found])
    if not below < k <= below + inside.numel():
        return False
    key = int(inside.kthvalue(k - below).values)
    cut = Cut.at(key, k - below - int((inside < key).count_nonzero()), int((inside == key).count_nonzero()))
    for mask, near, kept in zip(ranked.split(masks), found, _kept((near.keys for near in found), cut), strict=True):
        near.write(mask, kept)
    return True


def _digits(ranked: Ranked, k: int) -> Cut:
    """The cut by radix selection: one pass for each 16 bits of the key, from the top."""
    rank, low, bits, tied = k - ranked.masked, 0, ranked.largest.bit_length(), 0
    while bits > 0:
        width = min(_DIGIT_BITS, bits)
        bits -= width
        histogram = _histogram(ranked, low, bits, width)
        upto = histogram.cumsum(0)
        digit = int(torch.searchsorted(upto, rank))
        tied = int(histogram[digit])
        rank -= int(upto[digit]) - tied
        low += digit << bits
    return Cut.at(low, rank, tied)


def _histogram(ranked: Ranked, low: int, shift: int, width: int) -> Tensor:
    """How many keys have each value of the `width` bits above `shift`, among those that begin as `low` does."""
    bins = 1 << width
    total = torch.zeros(bins + 2, dtype=torch.int64, device=ranked.device)
    for keys in ranked.chunks():
        digits = keys.sub_(low).bitwise_right_shift_(shift).clamp_(-1, min(bins, ranked.largest))
        total += torch.bincount(digits.to(torch.int32).add_(1), minlength=bins + 2)
    return total[1:-1]


def _write(ranked: Ranked, cut: Cut, masks: list[Tensor]) -> None:
    for mask, kept in zip(ranked.split(masks), _kept(ranked.chunks(), cut), strict=True):
        mask.copy_(kept)


def _kept(parts: Iterable[Tensor], cut: Cut) -> Iterator[Tensor]:
    """Which of the keys stay, part by part: the parts come in order, and together hold every key that ties."""
    left = cut.ties
    for keys in parts:
        if cut.ties == cut.tied:
            yield keys > cut.key
        elif left <= 0:
            yield keys >= cut.key
        else:
            tied = keys == cut.key
            order = tied.flatten().cumsum(0).view_as(tied)
            yield (keys > cut.key) | (tied & (order > left))
            left -= int(tied.count_nonzero())
