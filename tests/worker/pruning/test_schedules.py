"""Curves against their formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.pruning.schedules import CURVES, amounts

SHARES = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 100), SHARES, SHARES, st.sampled_from(list(CURVES)))
def test_never_falls_and_ends_exactly_at_the_final_amount(rounds: int, final: float, start: float, curve: str) -> None:
    grown = amounts(rounds, final, start, curve)
    assert len(grown) == rounds
    assert grown[-1] == final
    assert all(a <= b + 1e-15 for a, b in zip([min(start, final), *grown], grown, strict=False))


def test_linear_takes_equal_steps() -> None:
    assert amounts(4, 0.8, 0.0, "linear") == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_cubic_is_zhu_and_gupta() -> None:
    expected = [0.9 + (0.1 - 0.9) * (1 - t / 5) ** 3 for t in range(1, 6)]
    assert amounts(5, 0.9, 0.1, "cubic") == pytest.approx(expected)


def test_geometric_takes_the_same_share_of_what_is_left() -> None:
    kept = [1 - 0.2, *(1 - amount for amount in amounts(5, 0.9, 0.2, "geometric"))]
    assert [b / a for a, b in pairwise(kept)] == pytest.approx([(0.1 / 0.8) ** 0.2] * 5)


def test_one_shot_is_there_at_once() -> None:
    assert amounts(1, 0.9, 0.3, "one_shot") == [0.9]


def test_a_start_above_the_final_amount_stays_where_it_is() -> None:
    assert amounts(3, 0.5, 0.7, "linear") == [0.5, 0.5, 0.5]
    assert amounts(2, 0.5, 1.0, "geometric") == [0.5, 0.5]
