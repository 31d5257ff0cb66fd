"""The k smallest: against a plain stable sort, whatever the chunks, the sample, the type and the ties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.pruning.keys import INTEGERS, Ranked
from worker.pruning.threshold import count, keep

DTYPES = st.sampled_from(list(INTEGERS))
SHAPES = st.lists(st.sampled_from([(0,), (1,), (7,), (8,), (3, 5), (2, 8, 4), (37, 3), (5, 4, 3, 2)]), min_size=1)
SIZES = st.sampled_from([1, 5, 8, 16, 1 << 19])


def reference(scores: list[Tensor], masks: list[Tensor | None], k: int) -> Tensor:
    """What stays, flat, by sorting everything: masked first, then by magnitude, then by position; no zero stays."""
    flat = torch.cat([score.double().abs().reshape(-1).nan_to_num(nan=float("inf"), posinf=1e300) for score in scores])
    kept = torch.cat(
        [(torch.ones_like(s) if m is None else m).reshape(-1).bool() for s, m in zip(scores, masks, strict=True)]
    )
    flat[~kept] = -1.0
    k = max(k, int((flat <= 0).sum()))
    expected = torch.ones(len(flat), dtype=torch.bool)
    expected[flat.argsort(stable=True)[:k]] = False
    return expected


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[Tensor], list[Tensor | None]]:
    dtype, levels = draw(DTYPES), draw(st.sampled_from([1, 2, 5, 1000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    scores: list[Tensor] = []
    masks: list[Tensor | None] = []
    for shape in draw(SHAPES):
        score = torch.randint(-levels, levels + 1, shape, generator=generator).to(dtype) / 8
        scores.append(score.transpose(0, -1) if draw(st.booleans()) else score)
        masks.append(torch.rand(scores[-1].shape, generator=generator) < 0.7 if draw(st.booleans()) else None)
    return scores, masks


@settings(max_examples=200, deadline=None)
@given(pools(), st.floats(0, 1), SIZES, st.sampled_from([4, 16, 1 << 17]))
def test_equals_a_stable_sort(
    pool: tuple[list[Tensor], list[Tensor | None]], amount: float, chunk: int, sample: int
) -> None:
    scores, masks = pool
    k = count(amount, sum(score.numel() for score in scores))
    kept = keep(Ranked(scores, masks, chunk), k, sample=sample)
    assert [mask.shape for mask in kept] == [score.shape for score in scores]
    assert torch.equal(torch.cat([mask.reshape(-1) for mask in kept]), reference(scores, masks, k))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("sample", [64, 1000, 1 << 17])
@pytest.mark.parametrize("amount", [0.001, 0.1, 0.5, 0.9, 0.9999, 1.0])
def test_many_distinct_magnitudes(dtype: torch.dtype, sample: int, amount: float) -> None:
    scores = [torch.randn(40, 101, generator=torch.Generator().manual_seed(1)).to(dtype)]
    k = count(amount, scores[0].numel())
    kept = keep(Ranked(scores, [None], 512), k, sample=sample)[0]
    assert int((~kept).sum()) == k
    assert torch.equal(kept.reshape(-1), reference(scores, [None], k))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_order_of_special_values(dtype: torch.dtype) -> None:
    tiny = torch.finfo(dtype).smallest_normal / 2
    values = [float("nan"), float("-inf"), 1.0, -0.5, tiny, -0.0, 0.0]
    for k in range(len(values) + 1):
        kept = keep(Ranked([torch.tensor(values, dtype=dtype)], [None]), k)[0]
        assert [index for index, stays in enumerate(kept.tolist()) if not stays] == sorted(
            [5, 6, 4, 3, 2, 1, 0][: max(k, 2)]
        )


def test_types_are_compared_exactly_in_one_pool() -> None:
    scores = [torch.tensor([1.0009765625, 3.0], dtype=torch.float16), torch.tensor([1.0, -2.0], dtype=torch.bfloat16)]
    kept = keep(Ranked(scores, [None, None]), 2)
    assert [mask.tolist() for mask in kept] == [[False, True], [False, True]]


@pytest.mark.parametrize(("amount", "entries", "expected"), [(0.5, 5, 2), (0.5, 7, 4), (0.9, 10, 9), (0, 3, 0)])
def test_half_goes_to_the_even_neighbour(amount: float, entries: int, expected: int) -> None:
    assert count(amount, entries) == expected
