"""Pruning by rows: each row loses exactly its share, as if it were ranked alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from worker.pruning import rows
from worker.pruning.keys import Ranked
from worker.pruning.rows import keep_rows
from worker.pruning.threshold import count, keep

AMOUNTS = st.floats(0, 1, exclude_max=True)
SHAPES = st.sampled_from([(4, 3), (5, 1), (2, 3, 3, 3), (17, 8), (1, 1)])
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Random weights, with ties and zeros in half of the cases."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    drawn = torch.randn(draw(SHAPES), generator=generator)
    return (drawn.round() if draw(st.booleans()) else drawn).to(draw(DTYPES))


@settings(max_examples=150, deadline=None)
@given(weights(), AMOUNTS, st.booleans())
def test_each_row_is_ranked_as_if_it_were_alone(weight: Tensor, amount: float, masked: bool) -> None:
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.7 if masked else None
    found = keep_rows(weight, mask, amount)
    for at, row in enumerate(weight):
        (alone,) = keep(Ranked([row], [None if mask is None else mask[at]]), count(amount, row.numel()))
        assert torch.equal(found[at], alone)


def test_the_set_of_torch_prune_in_every_row() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    found = keep_rows(weight, None, 0.4)
    for at, row in enumerate(weight):
        holder = nn.Module()
        holder.register_parameter("weight", nn.Parameter(row))
        prune.l1_unstructured(holder, "weight", amount=0.4)
        assert torch.equal(found[at], holder.get_buffer("weight_mask").bool())


def test_what_is_no_number_stays() -> None:
    weight = torch.tensor([[torch.nan, 1.0, torch.inf, 2.0], [1.0, 2.0, 3.0, 4.0]])
    assert keep_rows(weight, None, 0.5).tolist() == [[True, False, True, False], [False, False, True, True]]


@pytest.mark.parametrize("chunk", [1, 7, 24])
def test_rows_read_in_pieces_give_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(11, 8, generator=torch.Generator().manual_seed(0))
    whole = keep_rows(weight, None, 0.3)
    monkeypatch.setattr(rows, "CHUNK", chunk)
    assert torch.equal(keep_rows(weight, None, 0.3), whole)
