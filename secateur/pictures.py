"""Which input a transform of pictures is for, and what shape its pictures have after it."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.errors import DataMismatch
from secateur.findings import FLOATS, listed, written
from secateur.inspection import TensorInfo
from secateur.spec.transforms import RandomCrop, Resize, Transform

AXES = 4
"""Of pictures: examples, channels, height, width."""


def input_of(transform: Transform, inputs: Sequence[TensorInfo]) -> TensorInfo:
    """The input of a program that the transform is for.

    Raises:
        DataMismatch: It is not there, holds no pictures, or is not named where several do.
    """
    pictures = [wanted for wanted in inputs if is_picture(wanted)]
    if transform.input is None:
        if len(pictures) == 1:
            return pictures[0]
        names = listed(wanted.name for wanted in pictures)
        which = f"several inputs hold pictures; name one of {names} in `input`" if pictures else "no input holds any"
        raise DataMismatch(f"{transform.kind} is for floating-point pictures (N, channels, height, width): {which}.")
    for wanted in pictures:
        if wanted.name == transform.input:
            return wanted
    raise DataMismatch(_no_picture(transform.input, inputs))


def is_picture(wanted: TensorInfo) -> bool:
    """Whether an input is floating-point and has four axes."""
    return len(wanted.shape) == AXES and wanted.dtype in FLOATS


def shape_after(transform: Transform, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (examples, channels, height, width) of what the transform makes of pictures of `shape`.

    Raises:
        DataMismatch: These are no pictures, or smaller than what is cropped from them.
    """
    if len(shape) != AXES:
        raise DataMismatch(
            f"{transform.kind} needs pictures (examples, channels, height, width); the array has the shape "
            f"{written(shape)}."
        )
    if isinstance(transform, Resize):
        return (*shape[:2], *transform.size)
    if isinstance(transform, RandomCrop) and transform.size is not None:
        return (*shape[:2], *_cropped(transform, transform.size, shape[2:]))
    return shape


def _cropped(transform: RandomCrop, size: tuple[int, int], found: tuple[int, ...]) -> tuple[int, int]:
    padded = tuple(side + 2 * transform.padding for side in found)
    if any(wanted > there for wanted, there in zip(size, padded, strict=True)):
        raise DataMismatch(
            f"random_crop takes {written(size)} from pictures that are {written(padded)} with their padding; crop "
            "less, pad more, or resize first."
        )
    return size


def _no_picture(name: str, inputs: Sequence[TensorInfo]) -> str:
    for wanted in inputs:
        if wanted.name == name:
            return (
                f"Input {name!r} is {wanted.dtype} {written(wanted.shape)}; a transform is for floating-point "
                "pictures (N, channels, height, width)."
            )
    return f"The model has no input {name!r}; it has {listed(wanted.name for wanted in inputs)}."
