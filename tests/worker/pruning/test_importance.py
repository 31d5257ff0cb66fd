"""Scores of single weights equal their papers' formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.pruning.importance import IMPORTANCE, lamp

NUMBERS = st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0, -2.0, 3.5, 1e-3, 1e20]), min_size=1, max_size=30)


def by_the_paper(weights: list[float]) -> list[float]:
    """Lee et al. 2021, equation 1: weights in ascending order of magnitude, the first of equal ones first."""
    scores = []
    for place, weight in enumerate(weights):
        left = sum(other**2 for at, other in enumerate(weights) if (abs(other), at) >= (abs(weight), place))
        scores.append(weight**2 / left if weight else 0.0)
    return scores


@given(NUMBERS)
def test_lamp_is_the_formula_of_its_paper(weights: list[float]) -> None:
    found = lamp("w", torch.tensor(weights, dtype=torch.float64), 0)
    assert found.tolist() == pytest.approx(by_the_paper(weights), rel=1e-9)


def test_lamp_leaves_the_order_within_a_layer_as_it_is() -> None:
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    scores = lamp("w", weight, 0)
    assert scores.shape == weight.shape
    assert torch.equal(scores.flatten().argsort(stable=True), weight.abs().flatten().argsort(stable=True))
    assert float(scores.max()) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_lamp_of_what_is_no_finite_number_touches_no_other(bad: float) -> None:
    clean = torch.tensor([0.5, -1.0, 2.0])
    scores = lamp("w", torch.cat([clean, torch.tensor([bad])]), 0)
    assert torch.equal(scores[:3], lamp("w", clean, 0))
    assert not math.isfinite(scores[3])


@pytest.mark.parametrize("kind", list(IMPORTANCE))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_exact_zero_scores_zero_and_the_weight_stays(kind: str, dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 1.0], [-2.0, 0.0]], dtype=dtype)
    before: Tensor = weight.clone()
    scores = IMPORTANCE[kind]("w", weight, 0)
    assert torch.equal(scores == 0, weight == 0)
    assert torch.equal(weight, before)
