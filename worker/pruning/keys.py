"""Magnitudes as integers: the bits of |x|, read as an integer of the same width, order floats exactly.

On integers, comparing, masking and selecting are plain vectorised instructions, in every floating-point type alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

CHUNK = 1 << 19
"""Entries handled at a time: their buffers fit level-2 caches, and there is enough in each for threads to share."""

INTEGERS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
"""The integer type of the same width, for each type that can be ranked."""

MASKED = -1
"""The key of an entry that is masked already: before every magnitude, zero included."""


@dataclass(frozen=True)
class Ranked:
    """Tensors as one row of entries to be ranked: tensor after tensor, each flat in row-major order.

    `scores` are compared by magnitude, NaN above infinity; tensors of several types are compared in the type that
    holds them all. `masks` (True keeps) has a boolean tensor for each of `scores`, or None where nothing is masked.
    """

    scores: Sequence[Tensor]
    masks: Sequence[Tensor | None]
    chunk: int = CHUNK

    def __len__(self) -> int:
        return sum(score.numel() for score in self.scores)

    @cached_property
    def masked(self) -> int:
        """How many entries are masked already."""
        return sum(mask.numel() - int(mask.count_nonzero()) for mask in self.masks if mask is not None)

    @cached_property
    def dtype(self) -> torch.dtype:
        """The floating-point type in which the entries are compared."""
        return reduce(torch.promote_types, (score.dtype for score in self.scores))

    @property
    def largest(self) -> int:
        """No key is above this one."""
        return torch.iinfo(INTEGERS[self.dtype]).max

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.scores[0].device

    def buffer(self) -> Tensor:
        """Room for the keys of one chunk."""
        return torch.empty(self.chunk, dtype=INTEGERS[self.dtype], device=self.device)

    def split(self, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
        """The parts of tensors shaped as the scores that match `chunks`; views where the tensors are contiguous."""
        for tensor in tensors:
            yield from torch.split(tensor.detach().reshape(-1), self.chunk)

    def chunks(self) -> Iterator[Tensor]:
        """The keys in order, at most `chunk` at a time and of one tensor: a buffer that the next step overwrites."""
        keys, hidden = self.buffer(), self.buffer()
        for score, mask in zip(self.scores, self.masks, strict=True):
            parts = torch.split(mask.reshape(-1), self.chunk) if mask is not None else None
            for index, part in enumerate(self.split([score])):
                size = part.numel()
                self._write(part, keys[:size])
                if parts is not None:
                    _hide(keys[:size], parts[index], hidden[:size])
                yield keys[:size]

    def sample(self, size: int) -> Tensor:
        """About `size` keys, drawn with replacement and always the same: each tensor gives its share."""
        generator = torch.Generator().manual_seed(0)
        drawn = []
        for score, mask in zip(self.scores, self.masks, strict=True):
            if draws := -(-score.numel() * size // len(self)):
                where = torch.randint(score.numel(), (draws,), generator=generator).to(score.device)
                keys = torch.empty(draws, dtype=INTEGERS[self.dtype], device=score.device)
                self._write(score.detach().take(where), keys)
                drawn.append(keys if mask is None else keys.masked_fill_(~mask.take(where), MASKED))
        return torch.cat(drawn)

    def _write(self, scores: Tensor, keys: Tensor) -> None:
        torch.bitwise_and(scores.to(self.dtype).view(keys.dtype), self.largest, out=keys)


def ordered(scores: Tensor) -> Tensor:
    """Positive float64 numbers in exactly the order of float32 scores of either sign, equal where those are equal.

    What is compared by magnitude, and may not be zero where there is still something to take, can be ranked so: the
    bits of a float, turned round below zero, are integers in the order of the floats, and float64 holds them all. What
    is no number comes last.
    """
    numbers = (scores.detach().to(torch.float32) + 0.0).masked_fill_(scores.isnan(), torch.nan)  # -0.0 becomes 0.0
    bits = numbers.view(torch.int32)
    signed = bits.bitwise_xor_(bits.bitwise_right_shift(31).bitwise_and_(torch.iinfo(torch.int32).max))
    return signed.to(torch.float64).add_(2.0**31 + 1)


def _hide(keys: Tensor, mask: Tensor, buffer: Tensor) -> None:
    """Set the keys of masked entries to MASKED. Three plain passes: masked_fill_ takes five times as long."""
    keys.bitwise_or_(buffer.copy_(mask).sub_(1))
