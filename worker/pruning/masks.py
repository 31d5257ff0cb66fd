"""Masks: which entries of the weights stay (True) and which are gone (False), by the full name of the parameter.

A weight without a mask is whole. A pruned entry is exactly +0.0, whatever stood there before: -0.0, infinity and NaN
too, which a multiplication by zero would not remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from worker.pruning.draws import generator, permuted
from worker.pruning.keys import CHUNK, INTEGERS

Masks: TypeAlias = Mapping[str, Tensor]
"""Boolean tensors, shaped as the weights of the same names."""


@torch.no_grad()
def apply(weights: Mapping[str, Tensor], masks: Masks) -> None:
    """Set the pruned entries of `weights` to +0.0, in place. Idempotent; weights without a mask are left alone."""
    for name, mask in masks.items():
        clear(weights[name], mask)


def shuffled(masks: Masks, seed: int) -> dict[str, Tensor]:
    """Masks with as many entries that stay, at random places, which depend on the seed and the weight's name alone."""
    return {name: permuted(mask, generator(seed, name)) for name, mask in masks.items()}


def bits(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as integers as wide as `dtype`: all bits set where it keeps, none where it does not."""
    return mask.to(INTEGERS[dtype]).neg_()


@torch.no_grad()
def clear(tensor: Tensor, mask: Tensor) -> None:
    """Set the entries of one floating-point tensor that the mask drops to +0.0, in place.

    A bitwise and of chunks that stay in cache takes a tenth of the time of `masked_fill_`.
    """
    if not tensor.is_contiguous():
        tensor.masked_fill_(~mask, 0.0)
        return
    parts = torch.split(tensor.detach().view(INTEGERS[tensor.dtype]).view(-1), CHUNK)
    for part, kept in zip(parts, torch.split(mask.reshape(-1), CHUNK), strict=True):
        part.bitwise_and_(bits(kept, tensor.dtype))
