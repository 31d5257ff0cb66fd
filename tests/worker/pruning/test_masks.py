"""Masks: pruned entries are exactly +0.0, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from worker.pruning.keys import INTEGERS
from worker.pruning.masks import apply

HOSTILE = [float("nan"), float("inf"), -float("inf"), -0.0, -3.0, 2.0]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("strided", [False, True])
def test_a_pruned_entry_is_plus_zero_and_others_keep_their_bits(dtype: torch.dtype, strided: bool) -> None:
    weight = torch.tensor([HOSTILE, HOSTILE], dtype=dtype)
    weight = weight.repeat(1, 2)[:, ::2] if strided else weight
    mask = torch.tensor([[False] * 6, [True] * 6])
    before = weight.clone().view(INTEGERS[dtype])
    apply({"w": weight}, {"w": mask})
    after = weight.view(INTEGERS[dtype])
    assert not after[0].any()
    assert torch.equal(after[1], before[1])


def test_a_mask_applied_is_prune_remove() -> None:
    linear = nn.Linear(5, 4)
    weights = {"weight": linear.weight.detach().clone(), "bias": linear.bias.detach().clone()}
    mask = torch.rand(4, 5) < 0.5
    prune.custom_from_mask(linear, "weight", mask)
    prune.remove(linear, "weight")
    apply(weights, {"weight": mask})
    assert all(torch.equal(weights[name], value) for name, value in linear.state_dict().items())
    assert weights["weight"].count_nonzero() == mask.count_nonzero()
