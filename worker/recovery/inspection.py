"""What an uploaded data set holds: enough to judge a job against it without opening it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from secateur.errors import BadDataset, EmptyDataset
from secateur.inspection import ArrayInfo, DatasetInspection
from secateur.spec.task import IGNORED_LABEL
from worker.recovery.columns import Column, ColumnFile

LABEL_AXES = 3
"""Labels of which one more may be ignored are (examples, height, width); arrays with more axes are pictures."""

Values = np.ndarray[tuple[int, ...], np.dtype[Any]]


def inspect(path: Path, written_as: Literal["safetensors", "npz"] = "safetensors") -> DatasetInspection:
    """Reads the safetensors file at `path` once from end to end; `written_as` is the form in which it was uploaded.

    Raises BadDataset for a damaged file or arrays of unequal length, EmptyDataset when there are no examples.
    """
    file = ColumnFile(path)
    lengths = {name: column.shape[0] for name, column in file.columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name!r}: {length}" for name, length in list(lengths.items())[:8])
        raise BadDataset(f"All arrays need the same number of examples; found {counts}.")
    (examples,) = set(lengths.values())
    if examples == 0:
        raise EmptyDataset
    arrays = tuple(_array(file, column) for column in file.columns.values())
    return DatasetInspection(format=written_as, examples=examples, arrays=arrays)


def _array(file: ColumnFile, column: Column) -> ArrayInfo:
    lows: list[float] = []
    highs: list[float] = []
    finite = True
    next_too = not column.dtype.is_floating_point and len(column.shape) <= LABEL_AXES
    for chunk in file.chunks(column.name):
        values = _values(chunk)
        if chunk.dtype.is_floating_point:
            is_finite = np.isfinite(values)
            if not is_finite.all():
                finite, values = False, values[is_finite]
        elif chunk.dtype.is_signed:
            values = values[values != IGNORED_LABEL]
        lows = sorted({*lows, *_lowest(values, next_too)})[: 1 + next_too]
        highs = sorted({*highs, *_highest(values, next_too)}, reverse=True)[: 1 + next_too]
    return ArrayInfo(
        name=column.name,
        dtype=str(column.dtype).removeprefix("torch."),
        shape=column.shape,
        minimum=lows[0] if lows else None,
        maximum=highs[0] if highs else None,
        next_minimum=lows[1] if len(lows) > 1 else None,
        next_maximum=highs[1] if len(highs) > 1 else None,
        finite=finite,
    )


def _lowest(values: Values, next_too: bool) -> Iterator[float]:
    """The smallest value and, if asked for, the smallest but one; none where there are no values."""
    if values.size:
        yield float(lowest := values.min())
        if next_too:
            yield from _lowest(values[values > lowest], False)


def _highest(values: Values, next_too: bool) -> Iterator[float]:
    if values.size:
        yield float(highest := values.max())
        if next_too:
            yield from _highest(values[values < highest], False)


def _values(chunk: torch.Tensor) -> Values:
    return (chunk.to(torch.float32) if chunk.dtype == torch.bfloat16 else chunk).numpy()
