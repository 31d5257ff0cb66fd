"""Data sets: what is read is what was written, in the program's dtype, and only what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from secateur.errors import DataMismatch, EmptyDataset
from secateur.inspection import TensorInfo
from worker.recovery.data import Dataset

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]


def expects(name: str, dtype: torch.dtype, *shape: int | str) -> TensorInfo:
    return TensorInfo(name=name, dtype=str(dtype).removeprefix("torch."), shape=shape)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_batch_is_the_rows_in_the_order_asked_for(make_dataset: Callable[..., Dataset], dtype: torch.dtype) -> None:
    x = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    dataset = make_dataset(x, torch.arange(50))
    indices = np.array([49, 0, 7, 7, 13])
    (inputs,), target = dataset.batch(indices)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, x[torch.from_numpy(indices)].float())
    assert torch.equal(target, torch.from_numpy(indices))


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_reach_an_integer_input_unchanged(make_dataset: Callable[..., Dataset], dtype: torch.dtype) -> None:
    x = torch.arange(20).reshape(10, 2).to(dtype)
    (inputs,), target = make_dataset(x, x[:, 0], torch.int64).batch(np.arange(10))
    assert inputs.dtype == target.dtype == torch.int64
    assert torch.equal(inputs, torch.arange(20).reshape(10, 2))


def test_bytes_for_a_float_input_are_divided_by_255(make_dataset: Callable[..., Dataset]) -> None:
    (inputs,), _ = make_dataset(torch.tensor([[0], [51], [255]], dtype=torch.uint8), torch.zeros(3)).batch(np.arange(3))
    assert inputs.flatten().tolist() == pytest.approx([0, 0.2, 1])


def test_columns_come_in_the_order_of_the_program_and_are_found_by_the_map(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 1), "b": torch.zeros(2, 1), "y": torch.zeros(2)}, tmp_path / "d")
    wanted = [expects("first", torch.float32, "batch", 1), expects("a", torch.float32, "batch", 1)]
    (first, second), _ = Dataset.open(tmp_path / "d", {"first": "b"}, "y", wanted).batch(np.arange(2))
    assert first.sum() == 0
    assert second.sum() == 2


def test_batches_outlive_later_ones(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset(torch.arange(4.0).reshape(4, 1), torch.arange(4))
    (first,), _ = dataset.batch(np.array([0, 1]))
    first += 10
    assert dataset.batch(np.array([0, 1]))[0][0].flatten().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("inputs", "target", "wanted", "says"),
    [
        ({}, "target", expects("image", torch.float32, "batch", 4), r"no array 'image'.*'target', 'x'"),
        ({}, "label", expects("x", torch.float32, "batch", 4), r"no array 'label'"),
        ({"z": "x"}, "target", expects("x", torch.float32, "batch", 4), r"no input 'z'"),
        ({}, "target", expects("x", torch.float32, "batch", 5), r"\(10, 4\).*\(examples, 5\)"),
        ({}, "target", expects("x", torch.float32, "batch", 4, 1), r"\(10, 4\).*\(examples, 4, 1\)"),
        ({}, "target", expects("x", torch.int64, "batch", 4), r"float32.*int64"),
        ({}, "target", expects("x", torch.bool, "batch", 4), r"float32.*bool"),
        ({}, "target", expects("x", torch.complex64, "batch", 4), r"float32.*complex64"),
        ({}, "short", expects("x", torch.float32, "batch", 4), r"10 examples.*'short' has 9"),
    ],
)
def test_what_does_not_fit_is_said_with_found_and_expected(
    tmp_path: Path, inputs: dict[str, str], target: str, wanted: TensorInfo, says: str
) -> None:
    save_file({"x": torch.ones(10, 4), "target": torch.zeros(10), "short": torch.zeros(9)}, tmp_path / "d")
    with pytest.raises(DataMismatch, match=says):
        Dataset.open(tmp_path / "d", inputs, target, [wanted])


def test_a_named_size_is_the_same_for_all_inputs(tmp_path: Path) -> None:
    save_file(
        {"ids": torch.ones(3, 8, dtype=torch.int64), "mask": torch.ones(3, 9), "y": torch.zeros(3)}, tmp_path / "d"
    )
    wanted = [expects("ids", torch.int64, "batch", "length"), expects("mask", torch.float32, "batch", "length")]
    with pytest.raises(DataMismatch, match="'mask'"):
        Dataset.open(tmp_path / "d", {}, "y", wanted)
    assert len(Dataset.open(tmp_path / "d", {}, "y", wanted[:1])) == 3


def test_no_examples_is_an_error_of_its_own(make_dataset: Callable[..., Dataset]) -> None:
    with pytest.raises(EmptyDataset):
        make_dataset(torch.ones(0, 4), torch.ones(0))


def test_reading_rows_of_a_large_file_does_not_load_it(tmp_path: Path) -> None:
    rows, row = 4096, 65536
    path = tmp_path / "large.safetensors"
    header = (
        f'{{"x":{{"dtype":"F32","shape":[{rows},{row}],"data_offsets":[0,{rows * row * 4}]}},'
        f'"target":{{"dtype":"I64","shape":[{rows}],"data_offsets":[{rows * row * 4},{rows * row * 4 + rows * 8}]}}}}'
    ).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + rows * row * 4 + rows * 8)
    dataset = Dataset.open(path, {}, "target", [expects("x", torch.float32, "batch", row)])
    indices = np.arange(rows)
    before = anonymous_bytes()
    for start in range(0, rows, 512):
        dataset.batch(indices[::-7][start : start + 16])
        dataset.batch(indices[start : start + 16])
    assert anonymous_bytes() - before < 64 << 20


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
