"""Sparsity is counted in the tensors, over the chosen layers alone."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.reports.sparsity import measure_sparsity


@settings(deadline=None)
@given(zeros=st.lists(st.integers(0, 12), max_size=5))
def test_zeros_are_counted_by_layer_and_overall(zeros: list[int]) -> None:
    weights = {}
    for index, count in enumerate(zeros):
        weights[f"layer{index}"] = torch.ones(12)
        weights[f"layer{index}"][:count] = 0
    shaped = {name: weight.reshape(3, 4) for name, weight in weights.items()} | {"other": torch.zeros(5)}
    found = measure_sparsity(shaped, weights)
    assert [layer.zeros for layer in found.layers] == zeros
    assert [(layer.name, layer.shape, layer.total) for layer in found.layers] == [(n, (3, 4), 12) for n in weights]
    assert found.zeros == sum(zeros)
    assert found.overall == (sum(zeros) / (12 * len(zeros)) if zeros else 0)


def test_negative_zero_is_zero_and_tiny_is_not() -> None:
    weight = torch.tensor([-0.0, 0.0, 1e-45, float("nan")])
    assert measure_sparsity({"w": weight}, ["w"]).zeros == 2
