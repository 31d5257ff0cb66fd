"""Selection: exact counts, the same sets as torch.nn.utils.prune, nested rounds, uniform draws."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur import erk
from secateur.allocation import SCOPES, Pool
from secateur.layers import choose
from worker.pruning.evidence import Evidence
from worker.pruning.growth import filled, rounds
from worker.pruning.importance import IMPORTANCE, random
from worker.pruning.masked import Masked
from worker.pruning.masks import Masks, apply
from worker.pruning.select import select
from worker.pruning.threshold import count

HALVES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
AMOUNTS = st.floats(0, 1, exclude_max=True)
SHAPES = st.lists(st.sampled_from([(4, 3), (5, 1), (2, 3, 3, 3), (17, 2), (1, 1)]), min_size=1, max_size=4)


@st.composite
def weights(draw: st.DrawFn) -> dict[str, Tensor]:
    """Random weights, with ties and zeros in half of the cases."""
    dtype, levels = draw(HALVES), draw(st.sampled_from([0, 3]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 20)))
    drawn = [torch.randn(shape, generator=generator) for shape in draw(SHAPES)]
    return {str(i): (tensor.round() if levels else tensor).to(dtype) for i, tensor in enumerate(drawn)}


def reference(weights: dict[str, Tensor], amount: float, scope: str) -> dict[str, Tensor]:
    """The masks of torch.nn.utils.prune, asked for the exact zeros where there are more of them than `amount` takes."""
    holders = {name: nn.Module() for name in weights}
    for name, holder in holders.items():
        holder.register_parameter("weight", nn.Parameter(weights[name].clone()))
        if scope == "layer":
            prune.l1_unstructured(holder, "weight", dropping({name: weights[name]}, amount))
    if scope == "global":
        pairs = [(holder, "weight") for holder in holders.values()]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=dropping(weights, amount))
    return {name: holder.get_buffer("weight_mask").bool() for name, holder in holders.items()}


def dropping(weights: dict[str, Tensor], amount: float) -> int:
    """How many entries go."""
    return max(count(amount, sum(weight.numel() for weight in weights.values())), zeros_in(weights.values()))


def evidence(weights: Masks) -> Evidence:
    """Of either sign, with many zeros and ties."""
    generator = torch.Generator().manual_seed(7)
    return Evidence(
        7, {name: torch.randn(weight.shape, generator=generator).round() for name, weight in weights.items()}
    )


def bags(weights: dict[str, Tensor], pool: Pool) -> list[list[Tensor]]:
    """What is ranked together: all of a pool, or each of its rows."""
    whole = [weights[name] for name in pool.names]
    return [[row] for tensor in whole for row in tensor] if pool.by_row else [whole]


def zeros_in(tensors: Iterable[Tensor]) -> int:
    return sum(int((tensor == 0).sum()) for tensor in tensors)


def nested(inner: Masks, outer: Masks) -> bool:
    """Whether `inner` keeps nothing that `outer` has dropped."""
    return all(not bool((inner[name] & ~mask).any()) for name, mask in outer.items())


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def dropped(weights: dict[str, Tensor], masks: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([weights[name][~masks[name]].abs().flatten() for name in names]).sort().values


@settings(max_examples=150, deadline=None)
@given(weights(), AMOUNTS, st.sampled_from(["global", "layer"]))
def test_the_sets_of_torch_prune(weights: dict[str, Tensor], amount: float, scope: str) -> None:
    ours = select(weights, SCOPES[scope](dict.fromkeys(weights), amount, shapes(weights)))
    theirs = reference(weights, amount, scope)
    for names in [list(weights)] if scope == "global" else [[name] for name in weights]:
        assert torch.equal(dropped(weights, ours, names), dropped(weights, theirs, names))
        magnitudes = torch.cat([weights[name].abs().flatten() for name in names])
        if len(magnitudes.unique()) == len(magnitudes):
            assert all(torch.equal(ours[name], theirs[name]) for name in names)


@settings(max_examples=100, deadline=None)
@given(weights(), AMOUNTS, st.sampled_from(list(SCOPES)), st.sampled_from(list(IMPORTANCE)), st.data())
def test_rounds_are_nested_and_each_is_exact(
    weights: dict[str, Tensor], amount: float, scope: str, kind: str, data: st.DataObject
) -> None:
    curve = data.draw(st.sampled_from(["linear", "cubic", "geometric"]))
    pools = SCOPES[scope](dict.fromkeys(weights), amount, shapes(weights))
    before, present = None, [[zeros_in(bag) for bag in bags(weights, pool)] for pool in pools]
    for number, step in enumerate(rounds(pools, filled(weights), number=4, curve=curve)):
        masks = select(weights, step, importance=IMPORTANCE[kind], masks=before, evidence=evidence(weights))
        assert before is None or nested(masks, before)
        apply(weights, masks)
        for pool, already in zip(step, present, strict=True):
            for bag, zeros in zip(bags(weights, pool), already, strict=True):
                entries = sum(tensor.numel() for tensor in bag)
                assert zeros_in(bag) == max(count(pool.amount, entries), zeros)
        for name, weight in weights.items():
            weight.add_(weight.sign() * masks[name] * number)
        before = masks


def test_an_override_leaves_the_global_pool() -> None:
    chosen = choose(["a.weight", "b.weight", "fc.weight"], override={"fc.*": 0.5})
    assert SCOPES["global"](chosen, 0.9, {}) == [Pool(("a.weight", "b.weight"), 0.9), Pool(("fc.weight",), 0.5)]
    assert [pool.amount for pool in SCOPES["layer"](chosen, 0.9, {})] == [0.9, 0.9, 0.5]
    assert SCOPES["global"]({"a": 0.1}, 0.9, {}) == [Pool(("a",), 0.1)]


def test_an_override_leaves_the_allocation_by_shape() -> None:
    sizes = {"a.weight": (64, 64), "b.weight": (8, 64, 3, 3), "fc.weight": (10, 64)}
    chosen = choose(list(sizes), override={"fc.*": 0.5})
    *shaped, own = SCOPES["erk"](chosen, 0.9, sizes)
    common = erk.amounts({"a.weight": (64, 64), "b.weight": (8, 64, 3, 3)}, 0.9)
    assert shaped == [Pool((name,), amount) for name, amount in common.items()]
    assert own == Pool(("fc.weight",), 0.5)


def test_each_pool_grows_from_its_own_zeros() -> None:
    weights = {"a": torch.tensor([0.0, 0, 1, 2]), "b": torch.ones(4)}
    pools = [Pool(("a",), 0.75), Pool(("b",), 0.5)]
    masks = {"b": torch.tensor([False, True, True, True])}
    steps = rounds(pools, filled(weights, masks), number=2, curve="linear")
    assert [[pool.amount for pool in step] for step in steps] == [[0.625, 0.375], [0.75, 0.5]]


def test_more_masked_than_asked_for_stays_as_it_is() -> None:
    masks = {"a": torch.tensor([False, False, True, True])}
    assert torch.equal(select({"a": torch.ones(4)}, [Pool(("a",), 0.25)], masks=masks)["a"], masks["a"])


@settings(max_examples=100, deadline=None)
@given(weights(), AMOUNTS, st.sampled_from(["global", "layer"]), st.sampled_from(list(IMPORTANCE)), st.booleans())
def test_every_zero_that_came_goes(
    weights: dict[str, Tensor], amount: float, scope: str, kind: str, some_masked: bool
) -> None:
    generator = torch.Generator().manual_seed(1)
    before = {n: torch.rand(w.shape, generator=generator) < 0.7 for n, w in list(weights.items())[:some_masked]}
    masks = select(
        weights,
        SCOPES[scope](dict.fromkeys(weights), amount, shapes(weights)),
        importance=IMPORTANCE[kind],
        masks=before,
        evidence=evidence(weights),
    )
    gone = {name: (weight == 0) | ~before.get(name, torch.tensor(True)) for name, weight in weights.items()}
    assert not any(bool((masks[name] & gone[name]).any()) for name in weights)
    for names in [list(weights)] if scope == "global" else [[name] for name in weights]:
        entries = sum(weights[name].numel() for name in names)
        expected = max(count(amount, entries), sum(int(gone[name].sum()) for name in names))
        assert zeros_in(masks[name] for name in names) == expected


@pytest.mark.parametrize("kind", list(IMPORTANCE))
@pytest.mark.parametrize("scope", list(SCOPES))
def test_fine_tuning_revives_no_zero_that_came(kind: str, scope: str) -> None:
    layer = nn.Linear(40, 40)
    with torch.no_grad():
        layer.weight[torch.rand(40, 40, generator=torch.Generator().manual_seed(0)) < 0.7] = 0.0
    came = layer.weight == 0
    pools, known = SCOPES[scope]({"w": None}, 0.5, {"w": (40, 40)}), evidence({"w": layer.weight})
    masks = select({"w": layer.weight}, pools, importance=IMPORTANCE[kind], evidence=known)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    with Masked({"w": layer.weight}, masks, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            (layer(torch.randn(8, 40)) - 1).square().sum().backward()
            optimizer.step()
    assert torch.equal(layer.weight == 0, came)


def test_random_is_seeded_and_differs_by_name() -> None:
    weight = torch.ones(1000)
    assert torch.equal(random("a", weight, Evidence(1)), random("a", weight, Evidence(1)))
    assert not torch.equal(random("a", weight, Evidence(1)), random("a", weight, Evidence(2)))
    assert not torch.equal(random("a", weight, Evidence(1)), random("b", weight, Evidence(1)))


def test_random_is_uniform_over_subsets() -> None:
    """All 20 subsets of 3 out of 6 entries in two tensors: chi-squared with 19 degrees of freedom, 0.1 % level."""
    draws, weights = 4000, {"a": torch.ones(2), "b": -torch.arange(1.0, 5.0)}
    seen: dict[tuple[bool, ...], int] = {}
    for seed in range(draws):
        masks = select(weights, [Pool(("a", "b"), 0.5)], importance=random, evidence=Evidence(seed))
        subset = tuple(masks["a"].tolist() + masks["b"].tolist())
        seen[subset] = seen.get(subset, 0) + 1
    assert len(seen) == 20
    assert sum((times - draws / 20) ** 2 / (draws / 20) for times in seen.values()) < 43.8
