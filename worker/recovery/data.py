"""A data set as the training loop sees it: batches of program inputs and targets, read by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.errors import DataMismatch, EmptyDataset
from secateur.inspection import TensorInfo
from secateur.pictures import input_of, shape_after
from secateur.spec.transforms import Transform
from worker.recovery.columns import DTYPES, Column, ColumnFile
from worker.recovery.transforms import Draws, transform

PIXEL_MAXIMUM = 255
BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}


Steps = tuple[tuple[int, Transform], ...]
"""The transforms of one input, in their order, each with its place among all transforms of the spec."""


class Dataset:
    """Examples in a memory-mapped file: one column per program input, in the program's order, and the target if any."""

    def __init__(self, file: ColumnFile, inputs: Sequence[tuple[str, torch.dtype, Steps]], target: str | None) -> None:
        self._file = file
        self._inputs = tuple(inputs)
        self._target = target

    @classmethod
    def open(
        cls,
        path: Path,
        inputs: Mapping[str, str],
        target: str | None,
        program_inputs: Sequence[TensorInfo],
        transforms: Sequence[Transform] = (),
    ) -> Self:
        """The data set at `path` for a program; `inputs` maps program input -> array where the names differ.

        `target` names the labels; None where none are read.

        Raises BadDataset, EmptyDataset, and DataMismatch when an array is missing or its shape, dtype or length does
        not fit.
        """
        file = ColumnFile(path)
        columns = file.columns
        unknown = sorted(set(inputs) - {wanted.name for wanted in program_inputs})
        if unknown:
            raise DataMismatch(
                f"The program has no input {unknown[0]!r}; it has {_listed(i.name for i in program_inputs)}."
            )
        sizes: dict[str, int] = {}
        chosen: list[tuple[str, torch.dtype, Steps]] = []
        steps = _steps(transforms, program_inputs)
        for wanted in program_inputs:
            column = _column(columns, inputs.get(wanted.name, wanted.name), f"input {wanted.name!r}")
            _check_shape(column, wanted, steps[wanted.name], sizes)
            _check_dtype(column, wanted)
            chosen.append((column.name, BY_NAME[wanted.dtype], steps[wanted.name]))
        labels = [] if target is None else [_column(columns, target, "the labels")]
        _check_lengths([columns[name] for name, _, _ in chosen] + labels)
        return cls(file, chosen, target)

    def __len__(self) -> int:
        return self.target_shape[0]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of all targets together, examples first."""
        if self._target is None:
            return self._file.columns[self._inputs[0][0]].shape[0], 0
        return self._file.columns[self._target].shape

    def batch(self, indices: NDArray[np.int64]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Inputs and targets of the examples asked for."""
        return self.inputs(indices), self.targets(indices)

    def inputs(self, indices: NDArray[np.int64], draws: Draws | None = None) -> tuple[torch.Tensor, ...]:
        """Each of shape (len(indices), ...) and in the program's dtype; uint8 for a float is divided by 255.

        Then come the transforms: in training with `draws`, elsewhere without, where random ones are left out.
        """

        def read(name: str, dtype: torch.dtype, steps: Steps) -> torch.Tensor:
            rows = self._file.rows(name, indices)
            return transform(_pictures(rows), steps, indices, draws).to(dtype) if steps else _converted(rows, dtype)

        return tuple(read(*each) for each in self._inputs)

    def targets(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Of the examples asked for; integers become int64. Without labels of the shape (len(indices), 0)."""
        if self._target is None:
            return torch.empty(len(indices), 0)
        return _as_target(self._file.rows(self._target, indices))

    def labels(self) -> NDArray[np.int64]:
        """All integer targets, in memory."""
        assert self._target is not None
        return np.concatenate([_as_target(chunk).to(torch.int64).numpy() for chunk in self._file.chunks(self._target)])

    def all(self) -> Subset:
        """Every example, in order."""
        return Subset(self, np.arange(len(self), dtype=np.int64))


@dataclass(frozen=True)
class Subset:
    """Some examples of a data set."""

    dataset: Dataset
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: NDArray[np.int64]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Inputs and target of the examples at these positions of the subset."""
        return self.dataset.batch(self.indices[positions])

    def inputs(self, positions: NDArray[np.int64], draws: Draws | None = None) -> tuple[torch.Tensor, ...]:
        """The inputs of the examples at these positions of the subset; with `draws` as in training."""
        return self.dataset.inputs(self.indices[positions], draws)

    def draws(self, *key: int) -> Draws:
        """The random numbers of an epoch over these examples, each a function of `key` and its example."""
        return Draws(len(self.dataset), *key)

    def targets(self, positions: NDArray[np.int64]) -> torch.Tensor:
        """The targets of the examples at these positions of the subset."""
        return self.dataset.targets(self.indices[positions])


def _converted(rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point and rows.dtype == torch.uint8:
        return (rows.to(torch.float32) / PIXEL_MAXIMUM).to(dtype)
    return rows.to(dtype)


def _pictures(rows: torch.Tensor) -> torch.Tensor:
    """In float32, or in float64 where they are that."""
    return _converted(rows, torch.float64 if rows.dtype == torch.float64 else torch.float32)


def _steps(transforms: Sequence[Transform], inputs: Sequence[TensorInfo]) -> dict[str, Steps]:
    """The transforms of each input. Raises DataMismatch where one is for no input."""
    steps: dict[str, Steps] = {wanted.name: () for wanted in inputs}
    for place, step in enumerate(transforms):
        steps[input_of(step, inputs).name] += ((place, step),)
    return steps


def _as_target(rows: torch.Tensor) -> torch.Tensor:
    return rows if rows.dtype.is_floating_point else rows.to(torch.int64)


def _column(columns: Mapping[str, Column], name: str, purpose: str) -> Column:
    if name not in columns:
        raise DataMismatch(f"The data set has no array {name!r} for {purpose}; it has {_listed(columns)}.")
    return columns[name]


def _check_shape(column: Column, wanted: TensorInfo, steps: Steps, sizes: dict[str, int]) -> None:
    """Axes after the first must agree; a named size must be the same wherever it is named (remembered in `sizes`)."""
    shape = column.shape
    for _, step in steps:
        shape = shape_after(step, shape)
    fits = len(shape) == len(wanted.shape)
    for found, expected in zip(shape[1:], wanted.shape[1:], strict=False):
        fits = fits and found == (sizes.setdefault(expected, found) if isinstance(expected, str) else expected)
    if not fits:
        raise DataMismatch(
            f"Array {column.name!r} has the shape {_shape(shape)}{' after its transforms' if steps else ''}; input "
            f"{wanted.name!r} of the program expects {_shape(('examples', *wanted.shape[1:]))}."
        )


def _check_dtype(column: Column, wanted: TensorInfo) -> None:
    """Numbers may become others where their meaning stays: no fraction is cut off, nothing but bool becomes bool."""
    dtype = BY_NAME.get(wanted.dtype)
    loses_fraction = dtype is not None and column.dtype.is_floating_point and not dtype.is_floating_point
    loses_number = dtype == torch.bool and column.dtype != torch.bool
    if dtype is None or loses_fraction or loses_number:
        raise DataMismatch(
            f"Array {column.name!r} has the dtype {str(column.dtype).removeprefix('torch.')}; input {wanted.name!r} of "
            f"the program expects {wanted.dtype}."
        )


def _check_lengths(columns: Sequence[Column]) -> None:
    first = columns[-1]
    for column in columns:
        if column.shape[0] != first.shape[0]:
            raise DataMismatch(
                f"Array {column.name!r} has {column.shape[0]} examples, {first.name!r} has {first.shape[0]}."
            )
    if first.shape[0] == 0:
        raise EmptyDataset


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _shape(sizes: Sequence[int | str]) -> str:
    return f"({', '.join(str(size) for size in sizes)})"
