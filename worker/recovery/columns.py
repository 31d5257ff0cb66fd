"""The columns of a data set: a safetensors file, checked before use and memory-mapped."""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.errors import BadDataset

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
MAX_HEADER_BYTES = 16 << 20
MAX_COLUMNS = 1000
MAX_AXES = 32
MAX_NAME_LENGTH = 256
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Column:
    """One array of a data set: `dtype`, `shape` with the examples first, and where its bytes begin in the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one example."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize


class ColumnFile:
    """The columns of one safetensors file, read where they lie: a row that nobody asks for is never loaded.

    Raises BadDataset when the file is anything else than plain, gapless safetensors.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self.columns = _read_header(file, path.stat().st_size)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise BadDataset(f"The data set cannot be read: {error.strerror}.") from error
        self._bytes: NDArray[np.uint8] = np.frombuffer(mapped, dtype=np.uint8)

    def rows(self, name: str, indices: NDArray[np.int64]) -> torch.Tensor:
        """The examples at `indices`, in that order: a fresh tensor of shape (len(indices), ...)."""
        column = self.columns[name]
        return _as_tensor(np.take(self._table(column), indices, axis=0), column)

    def chunks(self, name: str) -> Iterator[torch.Tensor]:
        """All examples of a column from first to last, a few megabytes at a time."""
        column = self.columns[name]
        table = self._table(column)
        step = max(1, CHUNK_BYTES // max(1, column.row_bytes))
        for start in range(0, len(table), step):
            yield _as_tensor(table[start : start + step].copy(), column)

    def _table(self, column: Column) -> NDArray[np.uint8]:
        """The bytes of a column, one row an example."""
        part = self._bytes[column.offset : column.offset + column.size_bytes]
        return part.reshape(column.shape[0], column.row_bytes)


def _as_tensor(table: NDArray[np.uint8], column: Column) -> torch.Tensor:
    shape = (len(table), *column.shape[1:])
    if table.size == 0:
        return torch.empty(shape, dtype=column.dtype)
    return torch.from_numpy(table.reshape(-1)).view(column.dtype).reshape(shape)


def _read_header(file: Any, file_bytes: int) -> dict[str, Column]:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise BadDataset("The data set is not a safetensors file: it is shorter than 8 bytes.")
    (header_bytes,) = struct.unpack("<Q", prefix)
    if header_bytes > min(MAX_HEADER_BYTES, file_bytes - 8):
        raise BadDataset(f"The data set is not a safetensors file: its header would be {header_bytes} bytes long.")
    entries = _parse(file.read(header_bytes))
    if not 0 < len(entries) <= MAX_COLUMNS:
        raise BadDataset(f"The data set holds {len(entries)} arrays; 1 to {MAX_COLUMNS} are allowed.")
    data_start = 8 + header_bytes
    placed = sorted((_place(name, entry) for name, entry in entries.items()), key=lambda place: place[:2])
    position = 0
    for begin, end, column in placed:
        if begin != position or end - begin != column.size_bytes:
            raise BadDataset(
                f"Array {column.name!r} lies at bytes {begin} to {end}; {position} to {position + column.size_bytes} "
                "was expected from its dtype and shape and the arrays before it."
            )
        position = end
    if data_start + position != file_bytes:
        raise BadDataset(f"The data set has {file_bytes} bytes; its header describes {data_start + position}.")
    return {column.name: Column(column.name, column.dtype, column.shape, data_start + b) for b, _, column in placed}


def _parse(header: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(header.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadDataset("The data set is not a safetensors file: its header is not JSON.") from error
    if not isinstance(entries, dict):
        raise BadDataset("The data set is not a safetensors file: its header is not a JSON object.")
    entries.pop("__metadata__", None)
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise BadDataset("The header of the data set names something twice.")
    return entries


def _place(name: str, entry: Any) -> tuple[int, int, Column]:
    """Where one array of the header begins and ends, counted from the end of the header, and what it is."""
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise BadDataset(f"An array has an unusable name of {len(name)} characters.")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadDataset(f"Array {name!r} is not described by dtype, shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BadDataset(f"Array {name!r} has the dtype {str(dtype)[:40]!r}; one of {', '.join(DTYPES)} is needed.")
    if not _are_sizes(shape) or not 0 < len(shape) <= MAX_AXES or 0 in shape[1:]:
        raise BadDataset(f"Array {name!r} has an unusable shape; the first of 1 to {MAX_AXES} axes is the examples.")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise BadDataset(f"Array {name!r} has unusable data_offsets.")
    return offsets[0], offsets[1], Column(name, DTYPES[dtype], tuple(shape), 0)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)
