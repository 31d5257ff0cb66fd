"""Scores of single weights equal their papers' formulas, written out."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.pruning.evidence import NOTHING, Evidence
from worker.pruning.importance import IMPORTANCE, gathered, lamp, wanda
from worker.pruning.keys import ordered

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
    found = lamp("w", torch.tensor(weights, dtype=torch.float64), NOTHING)
    assert found.tolist() == pytest.approx(by_the_paper(weights), rel=1e-9)


def test_lamp_leaves_the_order_within_a_layer_as_it_is() -> None:
    weight = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    scores = lamp("w", weight, NOTHING)
    assert scores.shape == weight.shape
    assert torch.equal(scores.flatten().argsort(stable=True), weight.abs().flatten().argsort(stable=True))
    assert float(scores.max()) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_lamp_of_what_is_no_finite_number_touches_no_other(bad: float) -> None:
    clean = torch.tensor([0.5, -1.0, 2.0])
    scores = lamp("w", torch.cat([clean, torch.tensor([bad])]), NOTHING)
    assert torch.equal(scores[:3], lamp("w", clean, NOTHING))
    assert not math.isfinite(scores[3])


@pytest.mark.parametrize("kind", list(IMPORTANCE))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_exact_zero_scores_zero_and_the_weight_stays(kind: str, dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, 1.0], [-2.0, 0.0]], dtype=dtype)
    before: Tensor = weight.clone()
    scores = IMPORTANCE[kind]("w", weight, Evidence(0, {"w": torch.tensor([[2.0, 0.0], [-1.0, -3.0]])}))
    assert torch.equal(scores == 0, weight == 0)
    assert torch.equal(weight, before)


FLOATS = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, math.inf, -math.inf, 1e-45, -1e-45])


@given(st.lists(FLOATS, min_size=2, max_size=40))
def test_floats_of_either_sign_become_positive_numbers_in_their_order(numbers: list[float]) -> None:
    found = ordered(torch.tensor(numbers)).tolist()
    assert min(found) > 0
    for (one, ours), (other, theirs) in pairwise(zip(numbers, found, strict=True)):
        assert (one < other, one == other) == (ours < theirs, ours == theirs)


@pytest.mark.parametrize("sign", [math.nan, -math.nan])
def test_what_is_no_number_comes_after_every_number(sign: float) -> None:
    found = ordered(torch.tensor([math.inf, sign, -math.inf]))
    assert found.argsort().tolist() == [2, 0, 1]


def test_signed_evidence_decides_alone_which_weight_goes() -> None:
    weight, seen = torch.tensor([9.0, -0.1, 0.0, 3.0]), torch.tensor([-2.0, -1.0, 5.0, 0.0])
    scores = gathered("w", weight, Evidence(0, {"w": seen}))
    assert scores.abs().argsort().tolist() == [2, 0, 1, 3]


def test_wanda_is_the_formula_of_its_paper() -> None:
    """Sun et al. 2023; in half precision its own numbers would overflow."""
    weight, norm = (
        torch.tensor([[300.0, -2.0], [0.5, 0.0]], dtype=torch.float16),
        torch.tensor([[1e4, 3.0], [1e4, 3.0]]),
    )
    scores = wanda("w", weight, Evidence(0, {"w": norm}))
    assert torch.equal(scores[weight != 0], ordered(torch.tensor([3e6, 6.0, 5e3])))
    assert scores[1, 1] == 0
