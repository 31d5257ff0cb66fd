"""Sizes are those of the real bytes."""

from __future__ import annotations

import gzip

import pytest
import torch
from torch import nn

from secateur.report import REMOVED_NOTE, ZEROS_NOTE
from worker.reports import size
from worker.reports.size import gzip_bytes, measure_size


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "weight": torch.randn(700, 500),
        "half": torch.randn(30, 4, dtype=torch.bfloat16).T,
        "steps": torch.tensor(3),
        "none": torch.empty(0),
    }


def test_gzip_has_the_length_of_the_reference() -> None:
    raw = b"".join(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors().values())
    assert gzip_bytes(tensors().values()) == len(gzip.compress(raw, 6))


def test_zeros_shrink_the_compressed_size_and_nothing_else() -> None:
    dense = tensors()
    pruned = {**dense, "weight": dense["weight"].clone()}
    pruned["weight"][:, 50:] = 0
    found = measure_size(dense, pruned, ["weight", "half"], {"model.pt2": 7})
    assert found.parameters == 700 * 500 + 120
    assert found.nonzero == 700 * 50 + 120
    assert found.dense_bytes == sum(tensor.nbytes for tensor in pruned.values())
    assert found.gzip_bytes["pruned"] < 0.2 * found.gzip_bytes["dense"]
    assert found.artifacts == {"model.pt2": 7}


def test_smaller_tensors_are_counted_on_both_sides() -> None:
    dense = tensors()
    pruned = {**dense, "weight": dense["weight"][:300, ::2].contiguous()}
    found = measure_size(dense, pruned, ["weight", "half"], {})
    assert (found.dense_parameters, found.parameters) == (700 * 500 + 120, 300 * 250 + 120)
    assert found.dense_bytes - found.pruned_bytes == 4 * (700 * 500 - 300 * 250)
    assert found.note == REMOVED_NOTE
    assert measure_size(dense, dense, ["weight"], {}).note == ZEROS_NOTE


def test_a_tied_tensor_counts_once() -> None:
    tied = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16, bias=False))
    tied[2].weight = tied[0].weight
    state = tied.state_dict()
    found = measure_size(state, state, [name for name, _ in tied.named_parameters()], {})
    assert found.dense_bytes == 4 * (16 * 16 + 16)
    assert found.parameters == 16 * 16 + 16
    assert found.gzip_bytes["dense"] == gzip_bytes(tied.parameters())


def test_parts_of_one_memory_count_each() -> None:
    rows = torch.randn(4, 8)
    parts = {"first": rows[0], "second": rows[1], "across": rows[:1, ::2]}
    assert measure_size(parts, parts, [], {}).dense_bytes == 4 * (8 + 8 + 4)


def test_compression_is_left_out_for_huge_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "GZIP_LIMIT_BYTES", 1000)
    assert measure_size(tensors(), tensors(), ["weight"], {}).gzip_bytes == {}
