"""N:M masks: equal to a plain loop over blocks, to torch.ao's sparsifier, and what 2:4 kernels can store."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from secateur.allocation import Blocks, Pool
from worker.pruning import blocks
from worker.pruning.blocks import fullest, keep_blocks
from worker.pruning.growth import filled, rounds
from worker.pruning.masks import apply
from worker.pruning.select import select

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def reference(weight: Tensor, mask: Tensor, pattern: Blocks, number: int) -> Tensor:
    """Block by block, entry by entry, as the docstring says."""
    kept = mask & (weight != 0)
    along, stay = weight.movedim(pattern.axis, -1), kept.movedim(pattern.axis, -1)
    for place in product(*map(range, along.shape[:-1])):
        for start in range(0, along.shape[-1] - pattern.of + 1, pattern.of):
            entries = range(start, start + pattern.of)
            ranks = []
            for at in entries:
                value = abs(float(along[(*place, at)]))
                ranks.append((bool(stay[(*place, at)]), value != value, 0.0 if value != value else value, at))
            for *_, at in sorted(ranks)[:number]:
                stay[(*place, at)] = False
    return kept


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor | None, Blocks, int]:
    """A weight with ties, zeros of both signs and numbers that are none, perhaps masked; blocks; how many go."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = draw(st.integers(1, 17))
    of = draw(st.integers(2, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    weight = torch.randn(shape, generator=generator)
    weight = weight.round() if draw(st.booleans()) else weight
    odd = torch.tensor([0.0, -0.0, float("nan"), -float("nan"), -3e38])
    picked = torch.randint(0, 12, shape, generator=generator)
    weight = torch.where(picked < len(odd), odd[picked.clamp(max=len(odd) - 1)], weight)
    mask = torch.rand(shape, generator=generator) < 0.7 if draw(st.booleans()) else None
    return weight.to(draw(st.sampled_from(DTYPES))), mask, Blocks(axis, of), draw(st.integers(0, of - 1))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_same_as_a_loop_over_blocks(case: tuple[Tensor, Tensor | None, Blocks, int]) -> None:
    weight, mask, pattern, number = case
    kept = keep_blocks(weight, mask, pattern, number / pattern.of)
    assert torch.equal(kept, reference(weight, torch.ones_like(kept) if mask is None else mask, pattern, number))
    apply({"w": weight}, {"w": kept})
    assert fullest(weight, pattern) <= pattern.of - number


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("chunk", [8, 9, 40, 1000])
def test_chunks_are_joined_without_a_seam(axis: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    weight = torch.randn((9, 10, 11), generator=torch.Generator().manual_seed(0))
    kept = keep_blocks(weight, None, Blocks(axis, 4), 0.5)
    assert torch.equal(kept, reference(weight, torch.ones_like(kept), Blocks(axis, 4), 2))
    whole = torch.ones(9, 10, 11)
    whole.movedim(axis, -1)[1, 2, 5] = 0
    assert fullest(whole, Blocks(axis, 4)) == 4
    whole.movedim(axis, -1)[..., ::4] = 0
    assert fullest(whole, Blocks(axis, 4)) == 3


@pytest.mark.parametrize(("zeros", "of"), [(2, 4), (4, 8), (1, 4)])
def test_the_same_as_the_sparsifier_of_torch(zeros: int, of: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 20))
    weight = model[0].weight.detach().clone()
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, of), zeros_per_block=zeros)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    kept = keep_blocks(weight, None, Blocks(1, of), zeros / of)
    assert torch.equal(kept, model[0].parametrizations.weight[0].mask.bool())


def test_kernels_for_2_of_4_store_it_without_loss() -> None:
    weight = torch.randn((64, 128), generator=torch.Generator().manual_seed(0)).half()
    packed = sparse_semi_structured_from_dense_cutlass(weight)
    assert not torch.equal(sparse_semi_structured_to_dense_cutlass(*packed), weight)
    apply({"w": weight}, {"w": keep_blocks(weight, None, Blocks(1, 4), 0.5)})
    packed = sparse_semi_structured_from_dense_cutlass(weight)
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(*packed), weight)


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(["linear", "cubic", "geometric"]))
def test_rounds_are_nested_and_the_last_is_exact(case: tuple[Tensor, Tensor | None, Blocks, int], curve: str) -> None:
    weight, mask, pattern, number = case
    weight = torch.where(weight.isfinite() & (weight != 0), weight, torch.ones_like(weight))
    masks = {} if mask is None else {"w": mask}
    start = weight.numel() - int(mask.count_nonzero()) if mask is not None else 0
    pool, before = (
        Pool(("w",), number / pattern.of, blocks=pattern),
        masks.get("w", torch.ones_like(weight, dtype=torch.bool)),
    )
    for step in rounds([pool], filled({"w": weight}, masks), number=4, curve=curve):
        kept = select({"w": weight}, step, masks={"w": before})["w"]
        assert not bool((kept & ~before).any())
        gone = round(step[0].amount * pattern.of)
        assert fullest(kept, pattern) <= pattern.of - gone
        apply({"w": weight}, {"w": kept})
        weight, before = torch.where(kept, weight + weight.sign() * torch.rand(weight.shape).to(weight), weight), kept
    assert gone == number
    inside = weight.shape[pattern.axis] // pattern.of * pattern.of * weight.numel() // weight.shape[pattern.axis]
    if start == 0:
        assert int((weight == 0).sum()) == inside // pattern.of * number


def test_what_was_zero_counts_first_and_stays_zero_outside_blocks_too() -> None:
    weight = torch.tensor([[5.0, 0.0, 4.0, 1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0]])
    kept = keep_blocks(weight, None, Blocks(1, 4), 0.5)
    assert kept.int().tolist() == [[1, 0, 1, 0, 0, 0, 0, 1, 1, 0]]
