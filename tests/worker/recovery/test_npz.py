"""npz archives become the same arrays as safetensors; anything else in a zip is refused and leaves nothing behind."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from secateur.errors import BadDataset, TooLarge
from worker.recovery.inspection import inspect
from worker.recovery.npz import convert_npz, is_npz

LIMIT = 1 << 30
KINDS = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def archive(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def convert(path: Path, limit: int = LIMIT) -> Path:
    out = path.with_suffix(".safetensors")
    convert_npz(path, out, limit)
    return out


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("axes", ["C", "F"])
def test_every_plain_array_arrives_unchanged(tmp_path: Path, save: Callable[..., None], order: str, axes: Any) -> None:
    values = np.random.default_rng(0).uniform(0, 100, (11, 3, 4))
    arrays = {f"a_{kind}": np.asarray(values.astype(f"{order}{kind}"), order=axes) for kind in KINDS}
    save(tmp_path / "d.npz", **arrays)
    loaded = load_file(convert(tmp_path / "d.npz"))
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert torch.equal(
            loaded[name], torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
        )


@pytest.mark.parametrize("axes", ["C", "F"])
def test_arrays_of_many_chunks_arrive_unchanged(tmp_path: Path, axes: Any) -> None:
    array = np.asarray(np.random.default_rng(0).standard_normal((3001, 1500), dtype=np.float32), order=axes)
    np.savez(tmp_path / "d.npz", x=array, y=np.arange(3001))
    loaded = load_file(convert(tmp_path / "d.npz"))
    assert np.array_equal(loaded["x"].numpy(), array)
    assert np.array_equal(loaded["y"].numpy(), np.arange(3001))


def test_what_was_converted_can_be_inspected(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 2), np.float32), empty=np.zeros((4, 0)))
    with pytest.raises(BadDataset, match="'empty'"):
        inspect(convert(tmp_path / "d.npz"))
    np.savez(tmp_path / "e.npz", x=np.ones((4, 2), np.float32))
    assert inspect(convert(tmp_path / "e.npz"), "npz").examples == 4


def test_archives_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    assert is_npz(archive(tmp_path / "d.npz", ("x.npy", npy(np.zeros(1)))))
    (tmp_path / "other").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert not is_npz(tmp_path / "other")


GOOD = npy(np.arange(6.0))
BAD: dict[str, list[tuple[str, bytes]]] = {
    "objects": [("x.npy", npy(np.array([{}, []], dtype=object), allow_pickle=True))],
    "a record": [("x.npy", npy(np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])))],
    "text": [("x.npy", npy(np.array(["a", "b"])))],
    "dates": [("x.npy", npy(np.zeros(2, dtype="M8[s]")))],
    "complex numbers": [("x.npy", npy(np.zeros(2, dtype="c8")))],
    "long doubles": [("x.npy", npy(np.zeros(2, dtype=np.longdouble)))],
    "a scalar": [("x.npy", npy(np.float32(1)))],
    "no array": [("x.npy", b"import os")],
    "empty member": [("x.npy", b"")],
    "another file": [("x.npy", GOOD), ("readme.txt", b"hello")],
    "path": [("../x.npy", GOOD)],
    "absolute path": [("/tmp/x.npy", GOOD)],
    "backslash": [("a\\..\\x.npy", GOOD)],
    "folder": [("a/x.npy", GOOD)],
    "no name": [(".npy", GOOD)],
    "cut off": [("x.npy", GOOD[:-3])],
    "too long": [("x.npy", GOOD + b"123")],
    "code in the header": [("x.npy", GOOD.replace(b"False", b"exit("))],
    "negative size": [("x.npy", GOOD.replace(b"(6,)", b"(-6)"))],
    "header of 4 GB": [("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff")],
    "nothing": [],
}


@pytest.mark.parametrize("what", list(BAD))
def test_other_archives_are_refused_and_leave_nothing(tmp_path: Path, what: str) -> None:
    path = archive(tmp_path / "d.npz", *BAD[what])
    with pytest.raises(BadDataset):
        convert(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    content = archive(tmp_path / "d.npz", ("x.npy", GOOD), ("y.npy", GOOD)).read_bytes()
    (tmp_path / "d.npz").write_bytes(content.replace(b"y.npy", b"x.npy"))
    with pytest.raises(BadDataset):
        convert(tmp_path / "d.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_write_is_refused(tmp_path: Path, compression: int) -> None:
    with pytest.raises(BadDataset, match="compressed"):
        convert(archive(tmp_path / "d.npz", ("x.npy", GOOD), compression=compression))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", ("x.npy", GOOD))
    path.write_bytes(path.read_bytes().replace(np.float64(5).tobytes(), np.float64(7).tobytes()))
    with pytest.raises(BadDataset, match="CRC"):
        convert(path)


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros(100 << 20, np.uint8))
    with pytest.raises(BadDataset, match="unpack"):
        convert(tmp_path / "d.npz")


def test_arrays_above_the_limit_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros(1000))
    with pytest.raises(TooLarge, match="5000"):
        convert(tmp_path / "d.npz", limit=5000)


def test_a_directory_of_millions_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", ("x.npy", GOOD))
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = (64 << 20).to_bytes(4, "little")
    path.write_bytes(bytes(65 << 20) + content)
    with pytest.raises(BadDataset, match="directory"):
        convert(path)


def test_an_archive_without_its_beginning_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", ("x.npy", GOOD))
    path.write_bytes(path.read_bytes()[10:])
    with pytest.raises(BadDataset, match="outside"):
        convert(path)


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    path = archive(tmp_path / "d.npz", ("x.npy", GOOD))
    convert(path)
    before = path.with_suffix(".safetensors").read_bytes()
    with pytest.raises(FileExistsError):
        convert(path)
    assert path.with_suffix(".safetensors").read_bytes() == before


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), cut=st.booleans(), changes=st.integers(0, 8), compressed=st.booleans())
def test_damaged_archives_are_converted_or_refused(
    tmp_path: Path, seed: int, cut: bool, changes: int, compressed: bool
) -> None:
    draw = random.Random(seed)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "good.npz", x=np.arange(12.0).reshape(4, 3), y=np.arange(4))
    content = bytearray((tmp_path / "good.npz").read_bytes())
    for _ in range(changes):
        content[draw.randrange(len(content))] = draw.randrange(256)
    path, out = tmp_path / "bad.npz", tmp_path / "out"
    path.write_bytes(content[: draw.randrange(len(content))] if cut else content)
    with contextlib.suppress(BadDataset, TooLarge):
        convert_npz(path, out, LIMIT)
        inspect(out)
    out.unlink(missing_ok=True)
