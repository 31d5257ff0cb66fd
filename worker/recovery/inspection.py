"""What an uploaded data set holds: enough to judge a job against it without opening it again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from secateur.errors import BadDataset, EmptyDataset
from secateur.inspection import ArrayInfo, DatasetInspection
from secateur.spec.task import IGNORED_LABEL
from worker.recovery.columns import Column, ColumnFile


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
    smallest, largest, finite = math.inf, -math.inf, True
    for chunk in file.chunks(column.name):
        values = _values(chunk)
        if chunk.dtype.is_floating_point:
            is_finite = np.isfinite(values)
            if not is_finite.all():
                finite, values = False, values[is_finite]
        elif chunk.dtype.is_signed:
            values = values[values != IGNORED_LABEL]
        if values.size:
            smallest, largest = min(smallest, float(values.min())), max(largest, float(values.max()))
    empty = smallest > largest
    return ArrayInfo(
        name=column.name,
        dtype=str(column.dtype).removeprefix("torch."),
        shape=column.shape,
        minimum=None if empty else smallest,
        maximum=None if empty else largest,
        finite=finite,
    )


def _values(chunk: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return (chunk.to(torch.float32) if chunk.dtype == torch.bfloat16 else chunk).numpy()
