"""Masks: which entries of the weights stay (True) and which are gone (False), by the full name of the parameter.

A weight without a mask is whole. A pruned entry is exactly +0.0, whatever stood there before: -0.0, infinity and NaN
too, which a multiplication by zero would not remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from worker.pruning.keys import CHUNK, INTEGERS

Masks: TypeAlias = Mapping[str, Tensor]
"""Boolean tensors, shaped as the weights of the same names."""


@torch.no_grad()
def apply(weights: Mapping[str, Tensor], masks: Masks) -> None:
    """Set the pruned entries of `weights` to +0.0, in place. Idempotent; weights without a mask are left alone."""
    for name, mask in masks.items():
        clear(weights[name], mask)


@torch.no_grad()
def commit(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """The weights with their masks made permanent, as `torch.nn.utils.prune.remove` does; the masks are needed no more.

    New contiguous tensors where there is a mask, the same tensors elsewhere; the inputs keep their values.
    """
    committed = {name: weight.detach() for name, weight in weights.items()}
    for name, mask in masks.items():
        committed[name] = committed[name].clone(memory_format=torch.contiguous_format)
        clear(committed[name], mask)
    return committed


def zeros(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many entries of each weight are exactly zero, or of each mask are False."""
    return {name: tensor.numel() - int(tensor.count_nonzero()) for name, tensor in tensors.items()}


def merge(first: Masks, second: Masks) -> dict[str, Tensor]:
    """Masks that keep what both keep."""
    both = {name: mask & second[name] for name, mask in first.items() if name in second}
    return {**first, **second, **both}


def nested(inner: Masks, outer: Masks) -> bool:
    """Whether `inner` keeps nothing that `outer` has dropped: true of each round and the one before."""
    return all(name in inner and not bool((inner[name] & ~mask).any()) for name, mask in outer.items())


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
