"""How an amount is spread over layers by what each of them matters: against a search over all spreads."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.sensitivity import Curve, Sensitivity, counts
from secateur.spread import EVEN, Prices, Segment, prices
from secateur.spread import counts as spread

AMOUNTS = (0.25, 0.5, 0.75)


def found(metrics: dict[str, tuple[float | None, ...]], size: int = 100, higher_is_better: bool = True) -> Sensitivity:
    """Curves of layers of one size; the dense metric is 1."""
    taken = tuple(counts(size, AMOUNTS))
    curves = [
        Curve(name=name, kind="weight", size=size, taken=taken, metric=metric) for name, metric in metrics.items()
    ]
    return Sensitivity(dense=1.0, higher_is_better=higher_is_better, curves=tuple(curves))


metrics = st.tuples(*[st.floats(0, 1)] * len(AMOUNTS))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from("abcdef"), metrics, min_size=1), st.data())
def test_as_many_go_as_are_asked_for(layers: dict[str, tuple[float, ...]], data: st.DataObject) -> None:
    sizes = {name: data.draw(st.integers(1, 1000)) for name in layers}
    amount = data.draw(st.floats(0, 0.999))
    taken = spread(found(layers), sizes, amount)
    assert sum(taken.values()) == round(amount * sum(sizes.values()))
    assert all(0 <= taken[name] <= sizes[name] for name in sizes)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.sampled_from("abcdef"), metrics, min_size=1), st.floats(0, 0.5), st.floats(0, 0.49))
def test_where_more_goes_no_layer_keeps_more(layers: dict[str, tuple[float, ...]], less: float, more: float) -> None:
    sizes = dict.fromkeys(layers, 1000)
    low, high = (spread(found(layers), sizes, amount) for amount in (less, less + more))
    assert all(high[name] >= low[name] - 1 for name in layers)


def cost(share: float, part: float, drops: tuple[float, ...]) -> float:
    """What it is predicted to cost that a layer loses a share, straight from the definition.

    The lowest of all straight lines between two points of the curve, and a little for unevenness, by how much of
    everything the layer is.
    """
    points = list(zip((0.0, *AMOUNTS, 1.0), (0.0, *drops, 1.1), strict=True))
    chords = [
        low if right == left else low + (high - low) * (share - left) / (right - left)
        for left, low in points
        for right, high in points
        if left <= share <= right
    ]
    return min(chords) + EVEN * part * share**2


@pytest.mark.parametrize("amount", [0.2, 0.5, 0.8])
def test_no_other_spread_is_predicted_to_cost_less(amount: float) -> None:
    drops = {"a": (0.01, 0.05, 0.4), "b": (0.1, 0.25, 0.6), "c": (0.0, 0.3, 1.0)}
    sizes = {"a": 200, "b": 100, "c": 300}
    total = sum(sizes.values())

    def predicted(taken: dict[str, int]) -> float:
        return sum(cost(taken[name] / sizes[name], sizes[name] / total, drops[name]) for name in sizes)

    taken = spread(found({name: tuple(1 - drop for drop in row) for name, row in drops.items()}), sizes, amount)
    others = [
        {"a": first, "b": second, "c": third}
        for first, second in product(range(0, sizes["a"] + 1, 4), range(0, sizes["b"] + 1, 4))
        if 0 <= (third := round(amount * total) - first - second) <= sizes["c"]
    ]
    assert predicted(taken) <= min(map(predicted, others)) + 1e-3
    assert len({taken[name] / sizes[name] for name in sizes}) > 1


def test_flat_curves_give_equal_shares() -> None:
    taken = spread(found({"a": (1.0, 1.0, 1.0), "b": (1.0, 1.0, 1.0)}), {"a": 1000, "b": 10}, 0.5)
    assert taken == {"a": 500, "b": 5}


def test_a_layer_that_hurts_keeps_more_and_a_large_one_gives_more() -> None:
    hurt = spread(found({"a": (0.9, 0.5, 0.2), "b": (1.0, 0.99, 0.95)}), {"a": 100, "b": 100}, 0.5)
    assert hurt["a"] < hurt["b"]
    large = spread(found({"a": (0.9, 0.7, 0.2), "b": (0.9, 0.7, 0.2)}), {"a": 1000, "b": 100}, 0.5)
    assert large["a"] / 1000 > large["b"] / 100


def test_what_is_no_number_or_better_than_dense_is_no_gain() -> None:
    curves = found({"a": (1.2, None, math.nan)})
    assert curves.drops(curves.curves[0]) == [0.0, math.inf, math.inf]
    errors = found({"a": (1.5, 0.5, 3.0)}, higher_is_better=False)
    assert errors.drops(errors.curves[0]) == [0.5, 0.0, 2.0]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=5), st.floats(0.01, 1), st.floats(0, 0.99))
def test_a_price_buys_the_share_that_it_is_the_price_of(steps: list[float], weight: float, share: float) -> None:
    ends = [(place + 1) / len(steps) for place in range(len(steps))]
    slopes = sorted(steps)
    segments = [Segment(end - 1 / len(steps), end, slope) for end, slope in zip(ends, slopes, strict=True)]
    market = Prices(segments, weight)
    assert market.share(market.price(share)) == pytest.approx(share, abs=1e-6)


def test_every_number_of_units_is_tried_once() -> None:
    assert counts(4, (0.1, 0.2, 0.3, 0.5, 0.9), most=3) == [1, 2]
    assert counts(100, (0.1, 0.5)) == [10, 50]
    assert prices(found({"a": (1.0, 1.0, 1.0)}), {"a": 0.0})["a"].price(0.5) >= 0
