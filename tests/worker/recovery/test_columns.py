"""Safetensors files, sound and hostile: read as the reference library does, or refused with a code."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from secateur.errors import BadDataset, EmptyDataset
from secateur.inspection import DatasetInspection
from worker.recovery import columns
from worker.recovery.columns import DTYPES, ColumnFile
from worker.recovery.inspection import inspect

on_files = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def arrays(rows: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        str(dtype): (torch.rand(rows, 2, 3, generator=generator) * 4).to(torch.float64).to(dtype)
        for dtype in DTYPES.values()
    }


def written(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("chunk_bytes", [1, 4 << 20])
def test_the_range_of_labels_is_known_without_the_ones_at_its_ends(
    tmp_path: Path, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "CHUNK_BYTES", chunk_bytes)
    pixels = torch.tensor([[3, 255], [255, 7], [3, 5]], dtype=torch.uint8)[..., None]
    given = {"pixels": pixels, "void": torch.full((3, 2), -100), "one": torch.tensor([4, -100, 4]), "x": torch.rand(3)}
    save_file(given, tmp_path / "d")
    found = {a.name: (a.minimum, a.next_minimum, a.next_maximum, a.maximum) for a in inspect(tmp_path / "d").arrays}
    assert found["pixels"] == (3, 5, 7, 255)
    assert found["void"] == (None,) * 4
    assert found["one"] == (4, None, None, 4)
    assert found["x"] == (given["x"].min().item(), None, None, given["x"].max().item())


def test_every_dtype_reads_as_the_reference_library_wrote_it(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "d", {"by": "test"})
    file = ColumnFile(tmp_path / "d")
    assert set(file.columns) == set(arrays())
    for name, array in arrays().items():
        assert file.columns[name].shape == (6, 2, 3)
        assert torch.equal(torch.cat(list(file.chunks(name))), array)
        assert torch.equal(file.rows(name, np.array([5, 2, 2])), array[[5, 2, 2]])


def test_the_inspection_says_what_is_there(tmp_path: Path) -> None:
    wild = torch.tensor([[1.0, float("nan")], [-2.5, float("-inf")], [3, 0]])
    columns = {
        "wild": wild,
        "half": torch.tensor([0.5, -1, 2], dtype=torch.bfloat16),
        "label": torch.tensor([-100, 3, 1]),
        "ignored": torch.full((3,), -100),
        "yes": torch.tensor([True, True, True]),
    }
    save_file(columns, tmp_path / "d")
    found = inspect(tmp_path / "d", "npz")
    summary = {a.name: (a.dtype, a.shape, a.minimum, a.maximum, a.finite) for a in found.arrays}
    assert (found.examples, found.format) == (3, "npz")
    assert summary == {
        "wild": ("float32", (3, 2), -2.5, 3.0, False),
        "half": ("bfloat16", (3,), -1.0, 2.0, True),
        "label": ("int64", (3,), 1.0, 3.0, True),
        "ignored": ("int64", (3,), None, None, True),
        "yes": ("bool", (3,), 1.0, 1.0, True),
    }


def test_extremes_are_found_in_any_chunk(tmp_path: Path) -> None:
    x = torch.zeros(3000, 1024)
    x[0, 0], x[2999, 1023] = -7, 9
    save_file({"x": x}, tmp_path / "d")
    assert [(a.minimum, a.maximum) for a in inspect(tmp_path / "d").arrays] == [(-7, 9)]


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BAD: dict[str, tuple[Any, int]] = {
    "gap": ({"x": {**F32, "data_offsets": [4, 12]}}, 12),
    "overlap": ({"x": F32, "y": {**F32, "data_offsets": [4, 12]}}, 12),
    "backwards": ({"x": {**F32, "data_offsets": [8, 0]}}, 8),
    "size is not product": ({"x": {**F32, "shape": [3]}}, 8),
    "more data than said": ({"x": F32}, 9),
    "less data than said": ({"x": F32}, 7),
    "unknown dtype": ({"x": {**F32, "dtype": "F8_E4M3"}}, 8),
    "dtype of a list": ({"x": {**F32, "dtype": ["F32"]}}, 8),
    "negative size": ({"x": {**F32, "shape": [-2]}}, 8),
    "size of a float": ({"x": {**F32, "shape": [2.0]}}, 8),
    "size of a bool": ({"x": {**F32, "shape": [2, True]}}, 8),
    "enormous": ({"x": {**F32, "shape": [2**61, 2**61]}}, 8),
    "scalar": ({"x": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, 4),
    "nothing in a row": ({"x": {"dtype": "F32", "shape": [5, 0, 2**60, 2**60], "data_offsets": [0, 0]}}, 0),
    "extra field": ({"x": {**F32, "pickle": 1}}, 8),
    "no description": ({"x": 3}, 8),
    "no arrays": ({}, 0),
    "only metadata": ({"__metadata__": {"a": "b"}}, 0),
    "a list": ([1], 0),
    "too many arrays": ({f"{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(1001)}, 0),
    "unequal lengths": ({"x": F32, "y": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]}}, 11),
    "name with a newline": ({"x\n": F32}, 8),
    "twice the same": (b'{"x":' + json.dumps(F32).encode() + b',"x":' + json.dumps(F32).encode() + b"}", 8),
    "deep": (b"[" * 100_000, 0),
    "not text": (b"\xff\xfe{}", 0),
    "huge number": (b'{"x":' + b"9" * 10_000 + b"}", 0),
}


@pytest.mark.parametrize("what", list(BAD))
def test_a_header_that_is_not_plain_is_refused(tmp_path: Path, what: str) -> None:
    header, size = BAD[what]
    with pytest.raises(BadDataset):
        inspect(written(tmp_path / "d", header, bytes(size)))


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 8, struct.pack("<Q", 2**40), struct.pack("<Q", 5) + b"{}"])
def test_a_file_too_short_for_its_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(BadDataset):
        inspect(tmp_path / "d")


def test_an_oversized_header_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "d").open("wb") as file:
        file.write(struct.pack("<Q", 20 << 20))
        file.truncate(30 << 20)
    with pytest.raises(BadDataset, match="header"):
        inspect(tmp_path / "d")


def test_no_examples_is_an_error_of_its_own(tmp_path: Path) -> None:
    header = {"x": {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]}}
    with pytest.raises(EmptyDataset):
        inspect(written(tmp_path / "d", header))


@on_files
@given(seed=st.integers(0, 2**32), cut=st.booleans(), changes=st.integers(0, 6), in_header=st.booleans())
def test_damaged_files_are_read_or_refused(tmp_path: Path, seed: int, cut: bool, changes: int, in_header: bool) -> None:
    draw = random.Random(seed)
    save_file({"x": torch.randn(5, 3), "label": torch.arange(5)}, tmp_path / "good")
    content = bytearray((tmp_path / "good").read_bytes())
    for _ in range(changes):
        content[draw.randrange(160 if in_header else len(content))] = draw.choice(
            [draw.randrange(256), *b'0129{}[]",:']
        )
    (tmp_path / "bad").write_bytes(content[: draw.randrange(len(content))] if cut else content)
    with contextlib.suppress(BadDataset):
        assert isinstance(inspect(tmp_path / "bad"), DatasetInspection)
