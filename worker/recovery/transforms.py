"""Transforms of pictures, (N, channels, height, width), on the host: many at once, each with a chance of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from secateur.spec.transforms import HorizontalFlip, Normalize, RandomCrop, Resize, Transform
from worker.recovery.order import uniform

Indices = NDArray[np.int64]


class Draws:
    """The random numbers of one epoch over a data set of `length` examples, a function of `key` and the example alone.

    For every transform, by its place in the spec, and every axis of it there is one number in [0, 1) an example.
    """

    def __init__(self, length: int, *key: int) -> None:
        self._length, self._key = length, key
        self._drawn: dict[tuple[int, int], NDArray[np.float64]] = {}

    def of(self, place: int, axis: int, indices: Indices) -> torch.Tensor:
        """The numbers of the examples at `indices`, float64."""
        if (place, axis) not in self._drawn:
            self._drawn[place, axis] = uniform(self._length, *self._key, place, axis)
        return torch.from_numpy(self._drawn[place, axis][indices])


Chance = Callable[[int], torch.Tensor] | None
"""One number in [0, 1) an example for an axis; None outside training."""


def transform(
    pictures: torch.Tensor, steps: Sequence[tuple[int, Transform]], indices: Indices, draws: Draws | None
) -> torch.Tensor:
    """The pictures of the examples at `indices` after all `steps` (place in the spec, transform), in their order.

    With `draws` as in training, without as elsewhere.
    """
    for place, step in steps:

        def chance(axis: int, place: int = place) -> torch.Tensor:
            assert draws is not None
            return draws.of(place, axis, indices)

        pictures = TRANSFORMS[step.kind](pictures, step, None if draws is None else chance)
    return pictures.contiguous()  # or an exported view would fail


def _normalize(pictures: torch.Tensor, step: Normalize, chance: Chance) -> torch.Tensor:
    mean, std = (torch.tensor(numbers, dtype=pictures.dtype)[:, None, None] for numbers in (step.mean, step.std))
    return (pictures - mean) / std


def _resize(pictures: torch.Tensor, step: Resize, chance: Chance) -> torch.Tensor:
    return functional.interpolate(pictures, step.size, mode="bilinear", align_corners=False, antialias=True)


def _random_crop(pictures: torch.Tensor, step: RandomCrop, chance: Chance) -> torch.Tensor:
    height, width = step.size or tuple(pictures.shape[2:])
    padded = functional.pad(pictures, (step.padding,) * 4)
    free = padded.shape[2] - height, padded.shape[3] - width
    if chance is None:
        top, left = free[0] // 2, free[1] // 2
        return padded[:, :, top : top + height, left : left + width]
    tops, lefts = ((chance(axis) * (free[axis] + 1)).long() for axis in (0, 1))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(pictures)), :, tops, lefts]


def _horizontal_flip(pictures: torch.Tensor, step: HorizontalFlip, chance: Chance) -> torch.Tensor:
    if chance is None:
        return pictures
    return torch.where((chance(0) < step.p)[:, None, None, None], pictures.flip(3), pictures)


TRANSFORMS: dict[str, Callable[[torch.Tensor, Any, Chance], torch.Tensor]] = {
    "normalize": _normalize,
    "random_crop": _random_crop,
    "horizontal_flip": _horizontal_flip,
    "resize": _resize,
}
