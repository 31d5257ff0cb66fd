"""What a selection of units keeps to, whatever the network, the scores and the amount are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import NothingMatches, NothingPrunable, TargetUnreachable
from secateur.removal import count_macs, count_parameters, kept_per_part, require_reachable, select
from secateur.removal.latency import count_latency
from tests.secateur.removal.chain import Chain, asked

TARGETS = ("units", "parameters", "macs", "latency")
AMOUNTS = st.floats(0, 0.99)


@st.composite
def chains(draw: st.DrawFn, occupied_sets: int = 3) -> Chain:
    parts = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4))
    numbers = range(sum(map(len, parts)))
    occupied = draw(st.lists(st.lists(st.sampled_from(numbers), min_size=1, unique=True), max_size=occupied_sets))
    scores = [draw(st.lists(st.integers(0, 9).map(float), min_size=sum(s), max_size=sum(s))) for s in parts]
    us_per_mac = draw(st.lists(st.floats(0, 9), min_size=len(parts), max_size=len(parts)))
    return Chain(parts, scores, occupied, draw(st.integers(1, 5)), us_per_mac)


@st.composite
def prunes(draw: st.DrawFn, **fields: Any) -> Any:
    drawn = {
        "kind": draw(st.sampled_from(TARGETS)),
        "scope": draw(st.sampled_from(["global", "layer"])),
        "max_amount": draw(st.floats(0.05, 1)),
        "multiple_of": draw(st.integers(1, 4)),
        **fields,
    }
    return asked(**drawn)


def walk(chain: Chain, prune: Any) -> list[dict[str, frozenset[int]]]:
    """What is gone after each step of a removal one by one, by the plain rules; without multiple_of."""
    groups, scores = chain.units.groups, chain.scores
    ranking = sorted((scores[g][i], g, i) for g, group in enumerate(groups) for i in range(group.size))
    part = {
        (g, i): group.part[i if len(group.part) > 1 else 0] for g, group in enumerate(groups) for i in range(group.size)
    }
    stay = {max(rank for rank in ranking if rank[1] == g)[1:] for g in range(len(groups))}
    for parts in chain.units.occupied:
        if not any(part[unit] in parts for unit in stay):
            stay.add(max(rank for rank in ranking if part[rank[1:]] in parts)[1:])
    gone: dict[str, frozenset[int]] = {}
    steps = [gone]
    while True:
        may = [
            rank
            for rank in ranking
            if rank[1:] not in stay
            and rank[2] not in gone.get(groups[rank[1]].name, ())
            and len(gone.get(groups[rank[1]].name, ())) + 1 <= prune.max_amount * groups[rank[1]].size + 1e-9
        ]
        if not may:
            return steps
        shares = {rank: (len(gone.get(groups[rank[1]].name, ())) + 0.5) / groups[rank[1]].size for rank in may}
        _, g, i = min(may, key=lambda rank: rank if prune.scope == "global" else (shares[rank], *rank))
        gone = {**gone, groups[g].name: gone.get(groups[g].name, frozenset()) | {i}}
        steps.append(gone)


@given(chains(), prunes(multiple_of=1), AMOUNTS)
def test_the_selection_is_the_step_of_a_plain_walk_that_comes_closest(chain: Chain, prune: Any, amount: float) -> None:
    kind = prune.target.kind
    dense = chain.count(kind, {})
    chosen = select(chain.units, prune, chain.scores, amount)
    steps = walk(chain, prune)
    assert chosen in steps
    errors = [abs(chain.count(kind, gone) - dense * (1 - amount)) for gone in steps]
    assert abs(chain.count(kind, chosen) - dense * (1 - amount)) <= min(errors) + 1e-6


@given(chains(), prunes(), st.lists(AMOUNTS, min_size=2, max_size=2).map(sorted))
def test_a_larger_amount_takes_the_same_units_and_more(chain: Chain, prune: Any, amounts: list[float]) -> None:
    less, more = (select(chain.units, prune, chain.scores, amount) for amount in amounts)
    assert all(indices <= more[name] for name, indices in less.items())


@given(chains(), prunes(), st.data())
def test_what_is_gone_stays_gone_when_scores_change(chain: Chain, prune: Any, data: st.DataObject) -> None:
    gone: dict[str, frozenset[int]] = {}
    for amount in sorted(data.draw(st.lists(AMOUNTS, min_size=2, max_size=3))):
        scores = [data.draw(st.permutations(each)) for each in chain.scores]
        after = select(chain.units, prune, scores, amount, gone)
        assert all(indices <= after[name] for name, indices in gone.items())
        gone = after
        _keeps_bounds(chain, prune, gone)


@given(chains(), prunes(), AMOUNTS)
def test_bounds_are_kept(chain: Chain, prune: Any, amount: float) -> None:
    _keeps_bounds(chain, prune, select(chain.units, prune, chain.scores, amount))


def _keeps_bounds(chain: Chain, prune: Any, gone: dict[str, frozenset[int]]) -> None:
    """No group and no occupied set is empty; max_amount and multiple_of hold."""
    kept = kept_per_part(chain.units, gone)
    assert all(any(kept[part] for part in parts) for parts in chain.units.occupied)
    for group in chain.units.groups:
        lost = len(gone.get(group.name, ()))
        assert 0 <= lost < group.size
        assert lost <= prune.max_amount * group.size + 1e-9
        if lost and group.kind != "head":
            assert (group.size - lost) % prune.multiple_of == 0


@given(chains(), prunes(kind="units", multiple_of=1, max_amount=1.0), AMOUNTS)
def test_the_number_of_units_is_exact(chain: Chain, prune: Any, amount: float) -> None:
    most = len(walk(chain, prune)) - 1
    total = chain.count("units", {})
    lost = total - chain.count("units", select(chain.units, prune, chain.scores, amount))
    assert abs(lost - min(amount * total, most)) <= 0.5 + 1e-6


@given(chains(occupied_sets=0), AMOUNTS)
def test_by_layer_every_group_loses_the_same_share_to_a_unit(chain: Chain, amount: float) -> None:
    gone = select(chain.units, asked(scope="layer"), chain.scores, amount)
    shares = [(len(gone.get(group.name, ())), group.size) for group in chain.units.groups]
    common = [share for share in shares if share[0] < share[1] - 1]
    for lost, size in common:
        for other, other_size in common:
            assert (lost - 0.5) / size <= (other + 0.5) / other_size


@given(chains(), prunes(), AMOUNTS)
def test_counts_are_those_of_the_smaller_matrices(chain: Chain, prune: Any, amount: float) -> None:
    gone = select(chain.units, prune, chain.scores, amount)
    kept = kept_per_part(chain.units, gone)
    assert count_parameters(chain.units, kept) == chain.count("parameters", gone)
    assert count_macs(chain.units, kept) == chain.count("macs", gone)
    assert count_latency(chain.units, kept) == pytest.approx(chain.count("latency", gone))


@pytest.mark.parametrize("kind", ["parameters", "macs"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("multiple_of", [1, 8])
def test_a_target_of_the_network_is_reached_within_one_percent(kind: str, scope: str, multiple_of: int) -> None:
    sizes = (64, 128, 96, 256, 256, 128, 64, 192)
    chain = Chain([[size] for size in sizes], [[(index * 37) % 101 / 7 for index in range(size)] for size in sizes])
    prune = asked(kind, scope=scope, multiple_of=multiple_of)
    for amount in (0.1, 0.35, 0.5, 0.8):
        left = chain.count(kind, select(chain.units, prune, chain.scores, amount)) / chain.count(kind, {})
        assert left == pytest.approx(1 - amount, abs=0.01)


def test_ties_go_to_the_lower_group_and_index() -> None:
    chain = Chain([[4], [4]], [[1.0] * 4, [1.0] * 4])
    assert select(chain.units, asked(), chain.scores, 0.5) == {
        "layers.0.weight": frozenset({0, 1, 2}),
        "layers.1.weight": frozenset({0}),
    }


def test_a_score_that_is_no_number_counts_as_the_highest() -> None:
    chain = Chain([[3]])
    assert select(chain.units, asked(), [[float("nan"), 1.0, 2.0]], 0.66) == {"layers.0.weight": frozenset({1, 2})}


def test_heads_are_not_rounded() -> None:
    chain = Chain([[8], [8], [6]])
    gone = select(chain.units, asked(multiple_of=4, scope="layer"), chain.scores, 0.5)
    assert {name: len(indices) for name, indices in gone.items()} == {
        "layers.0.weight": 4,
        "layers.1.weight": 4,
        "layers.2.weight": 3,
    }


def test_only_what_is_chosen_goes() -> None:
    chain = Chain([[8], [12], [4], [8]])
    of_kind = select(chain.units, asked(granularity="channel"), chain.scores, 0.5)
    assert sorted(of_kind) == ["layers.0.weight", "layers.3.weight"]
    included = select(chain.units, asked(layers={"include": ["skips.1.*"]}), chain.scores, 0.5)
    assert {name: len(gone) for name, gone in included.items()} == {"layers.1.weight": 6}
    excluded = select(chain.units, asked(layers={"exclude": ["skips.[12].*", "layers.0.*"]}), chain.scores, 0.5)
    assert {name: len(gone) for name, gone in excluded.items()} == {"layers.3.weight": 4}


@pytest.mark.parametrize(("field", "pattern"), [("include", "layers.1.*"), ("exclude", "typo.*")])
def test_a_pattern_that_matches_no_unit_is_named_with_what_there_is(field: str, pattern: str) -> None:
    chain = Chain([[8], [12], [4]])
    with pytest.raises(NothingMatches, match=r"layers\.0\.weight, skips\.0\.weight") as caught:
        select(chain.units, asked(granularity="channel", layers={field: [pattern]}), chain.scores, 0.5)
    assert f"{pattern!r} matches no weight" in caught.value.message
    assert caught.value.context["pattern"] == pattern


def test_units_of_another_kind_may_be_excluded() -> None:
    chain = Chain([[8], [12], [4]])
    gone = select(chain.units, asked(granularity="channel", layers={"exclude": ["layers.1.*"]}), chain.scores, 0.5)
    assert sorted(gone) == ["layers.0.weight"]


def test_nothing_left_is_refused() -> None:
    chain = Chain([[8], [12], [4]])
    with pytest.raises(NothingMatches, match="leaves nothing to prune"):
        select(chain.units, asked(layers={"exclude": ["skips.*"]}), chain.scores, 0.5)


def test_a_granularity_that_the_model_has_not_is_refused_with_those_that_it_has() -> None:
    chain = Chain([[8], [12]])
    with pytest.raises(NothingPrunable, match=r"8 channels in 1 group.*12 neurons in 1 group") as caught:
        select(chain.units, asked(granularity="head"), chain.scores, 0.5)
    assert caught.value.remedy == "Ask for granularity channel or neuron or weight."


def test_a_model_without_units_says_what_is_frozen() -> None:
    units = Chain([[8]]).units.model_copy(
        update={"groups": (), "frozen": ({"node": "lstm", "why": "an operator that labels cannot follow"},)}
    )
    units = type(units).model_validate(units.model_dump(warnings=False))
    with pytest.raises(NothingPrunable, match=r"no units at all.*lstm: an operator that labels cannot follow"):
        select(units, asked(), [], 0.5)


@given(chains(), prunes(max_amount=0.6), st.floats(0.01, 0.98))
def test_the_largest_reachable_amount_that_a_refusal_names_can_be_reached(
    chain: Chain, prune: Any, amount: float
) -> None:
    prune = prune.model_copy(update={"target": prune.target.model_copy(update={"amount": amount})})
    kind, dense = prune.target.kind, chain.count(prune.target.kind, {})
    left = chain.count(kind, select(chain.units, prune, chain.scores, 0.999))
    if 1 - left / dense >= amount - 0.01:
        require_reachable(chain.units, prune, chain.scores)
        return
    with pytest.raises(TargetUnreachable) as caught:
        require_reachable(chain.units, prune, chain.scores)
    reachable = caught.value.context["reachable"]
    assert f"at most {reachable:g} can" in caught.value.message
    assert -1e-9 <= 1 - left / dense - reachable <= 1e-4 + 1e-9
