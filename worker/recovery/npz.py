"""npz archives of plain arrays, rewritten as safetensors a few megabytes at a time and without numpy's own loader."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import BadDataset, TooLarge
from worker.recovery.columns import CHUNK_BYTES, MAX_AXES, MAX_COLUMNS, MAX_NAME_LENGTH

MAGIC = b"PK\x03\x04"
SUFFIX = ".npy"
MAX_READ_BYTES = 4 << 20
MAX_HEADER_BYTES = 1 << 14
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 << 20
ALIGNMENT = 8

DTYPES: dict[str, str] = {
    "b1": "BOOL",
    "u1": "U8",
    "i1": "I8",
    "u2": "U16",
    "i2": "I16",
    "u4": "U32",
    "i4": "I32",
    "u8": "U64",
    "i8": "I64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
}
HEADER = re.compile(
    rb"\{'descr': '(?P<order>[<>|])(?P<dtype>[a-z][0-9]+)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]*)\),? *\}\s*"
)


@dataclass(frozen=True)
class _Member:
    """One array of the archive: its numpy dtype with byte order, and whether the first axis is the fastest."""

    info: zipfile.ZipInfo
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def is_npz(path: Path) -> bool:
    """Whether the file begins like a zip archive."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def convert_npz(path: Path, out_path: Path, max_bytes: int) -> None:
    """Writes the arrays of the npz file at `path` as the safetensors file `out_path`, little-endian and in C order.

    Stored and deflated members only, no objects, no two of one name. Raises TooLarge when the arrays take more than
    `max_bytes`, BadDataset for everything else that is not a plain npz file; `out_path` is then not left behind.
    """
    with _archive_errors(), _Reader(path) as reader, zipfile.ZipFile(reader) as archive:
        members = _members(archive, path.stat().st_size, max_bytes)
        out_path.touch(exist_ok=False)
        try:
            _write(archive, members, out_path)
        except BaseException:
            out_path.unlink()
            raise


class _Reader(io.BufferedReader):
    """A file of which no large piece is read at once: a hostile directory of the archive would fill the memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_READ_BYTES:
            raise BadDataset(f"The archive has a directory of {size} bytes; at most {MAX_READ_BYTES} are allowed.")
        return super().read(size)


@contextmanager
def _archive_errors() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadDataset(f"The data set is not a sound npz file: {str(error)[:200]}") from error
    except (struct.error, OverflowError, RecursionError) as error:
        raise BadDataset("The data set is not a sound npz file.") from error
    except OSError as error:
        # A directory that points before the start of the file; a full disk is another matter.
        if error.errno != errno.EINVAL:
            raise
        raise BadDataset("The data set is not a sound npz file: its directory points outside of it.") from error


def _members(archive: zipfile.ZipFile, file_bytes: int, max_bytes: int) -> list[_Member]:
    infos = archive.infolist()
    if not 0 < len(infos) <= MAX_COLUMNS:
        raise BadDataset(f"The archive holds {len(infos)} arrays; 1 to {MAX_COLUMNS} are allowed.")
    expanded = sum(info.file_size for info in infos)
    if expanded > max_bytes:
        raise TooLarge(f"The arrays take {expanded} bytes; this server accepts {max_bytes}.")
    if expanded > max(RATIO_FREE_BYTES, MAX_RATIO * file_bytes) or sum(i.compress_size for i in infos) > file_bytes:
        raise BadDataset(
            f"The archive of {file_bytes} bytes would unpack to {expanded}: no more than {MAX_RATIO} times."
        )
    members = [_member(archive, info) for info in infos]
    if len({member.name for member in members}) != len(members):
        raise BadDataset("The archive holds two arrays of the same name.")
    return sorted(members, key=lambda member: -member.dtype.itemsize)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    name = info.filename.removesuffix(SUFFIX)
    plain = name and name != info.filename and len(name) <= MAX_NAME_LENGTH and name.isprintable()
    if not plain or any(part in name for part in ("/", "\\", "..", ":")):
        raise BadDataset(f"The archive holds {info.filename[:80]!r}; only arrays NAME.npy belong into an npz file.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise BadDataset(f"Array {name!r} is encrypted or compressed in a way that numpy does not write.")
    with archive.open(info) as file:
        dtype, shape, fortran, header_bytes = _read_header(file, name)
    member = _Member(info, name, dtype, shape, fortran)
    if info.file_size != header_bytes + member.size_bytes:
        raise BadDataset(
            f"Array {name!r} has {info.file_size} bytes; its header describes {header_bytes + member.size_bytes}."
        )
    return member


def _read_header(file: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """dtype, shape and axis order from the head of a .npy file (its format 1.0 or 2.0), and how long that is."""
    magic, version = file.read(6), file.read(2)
    length_bytes = {b"\x01\x00": 2, b"\x02\x00": 4}.get(version)
    if magic != b"\x93NUMPY" or length_bytes is None:
        raise BadDataset(f"Member {name!r} of the archive is not a plain array of numpy.")
    length = int.from_bytes(file.read(length_bytes), "little")
    match = HEADER.fullmatch(file.read(length)) if length <= MAX_HEADER_BYTES else None
    if match is None or match["dtype"].decode() not in DTYPES:
        raise BadDataset(f"Array {name!r} is not of plain numbers (bool, integers or floats); objects are not read.")
    sizes = [size.strip() for size in match["shape"].split(b",") if size.strip()]
    if not 0 < len(sizes) <= MAX_AXES or not all(size.isdigit() and len(size) < 19 for size in sizes):
        raise BadDataset(f"Array {name!r} has an unusable shape; the first of 1 to {MAX_AXES} axes is the examples.")
    dtype = np.dtype(match["order"].decode() + match["dtype"].decode())
    return dtype, tuple(int(size) for size in sizes), match["fortran"] == b"True", 8 + length_bytes + length


def _write(archive: zipfile.ZipFile, members: list[_Member], out_path: Path) -> None:
    header, starts = _header(members)
    with out_path.open("wb") as out:
        out.write(header)
        total = len(header) + sum(member.size_bytes for member in members)
        # A full disk must be an error here: through the mapping below it would be a fatal signal.
        os.posix_fallocate(out.fileno(), 0, total)
    for member, start in zip(members, starts, strict=True):
        with archive.open(member.info) as file:
            _read_header(file, member.name)
            _copy(file, member, out_path, len(header) + start)


def _header(members: list[_Member]) -> tuple[bytes, list[int]]:
    """The head of a safetensors file, and where in the data behind it each array begins."""
    entries, starts, position = {}, [], 0
    for member in members:
        starts.append(position)
        end = position + member.size_bytes
        dtype = DTYPES[f"{member.dtype.kind}{member.dtype.itemsize}"]
        entries[member.name] = {"dtype": dtype, "shape": member.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text, starts


def _copy(file: IO[bytes], member: _Member, out_path: Path, offset: int) -> None:
    """Through a mapping, so that an array stored column by column can be written row by row."""
    if member.size_bytes == 0:
        return
    little = member.dtype.newbyteorder("<")
    out = np.memmap(out_path, dtype=little, mode="r+", offset=offset, shape=member.shape)
    target: NDArray[Any] = out.T if member.fortran else out
    row_shape = target.shape[1:]
    row_bytes = math.prod(row_shape) * little.itemsize
    step = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(target), step):
        count = min(step, len(target) - start)
        target[start : start + count] = _rows(file, count, row_bytes, member).reshape(count, *row_shape)
    if file.read(1):
        raise BadDataset(f"Array {member.name!r} is longer than its header says.")
    out.flush()


def _rows(file: IO[bytes], count: int, row_bytes: int, member: _Member) -> NDArray[Any]:
    content = file.read(count * row_bytes)
    if len(content) != count * row_bytes:
        raise BadDataset(f"Array {member.name!r} is cut off.")
    return np.frombuffer(content, dtype=member.dtype)
