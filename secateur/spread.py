"""How much of each layer or group goes so that the network is predicted to lose least: from its sensitivity.

What a network loses is taken to be the sum of what its layers lose each by itself. That sum is least, for a given
amount in all, where the next bit costs as much in every layer as in any other: each layer has a price for every share
of it, and everything below one price goes. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from secateur.sensitivity import Curve, Sensitivity

EVEN = 0.1
"""How much a spread is drawn towards equal shares, against a drop of the largest size that was seen.

Where curves are flat, or a few lucky examples make them so, equal shares decide.
"""

ALL_GONE = 1.1
"""The drop of a layer of which nothing is left, in terms of the largest that was seen: more than any."""


@dataclass(frozen=True)
class Segment:
    """A straight piece of a convex curve: from one share to another, the drop grows by `slope` times the share."""

    start: float
    end: float
    slope: float


class Prices:
    """What it costs one layer or group to lose a little more.

    `weight` is how much of everything it is, so that the same drop is cheap in a large layer.
    """

    def __init__(self, segments: Sequence[Segment], weight: float) -> None:
        self._segments, self._weight = segments, max(weight, 1e-12)

    def price(self, share: float) -> float:
        """Of the next bit, when so much is gone."""
        segment = next((each for each in self._segments if share < each.end), self._segments[-1])
        return segment.slope / self._weight + 2 * EVEN * share

    def share(self, price: float) -> float:
        """How much goes at a price."""
        gone = 0.0
        for segment in self._segments:
            wanted = (price - segment.slope / self._weight) / (2 * EVEN)
            gone = min(max(wanted, segment.start), segment.end)
            if gone < segment.end:
                break
        return gone


def prices(sensitivity: Sensitivity, weights: Mapping[str, float]) -> dict[str, Prices]:
    """Of every curve, by its name; `weights` say how much of everything each of them is, and sum up to about 1."""
    largest = max((drop for curve in sensitivity.curves for drop in _finite(sensitivity, curve)), default=0.0) or 1.0
    return {
        curve.name: Prices(_segments(curve.amounts, sensitivity.drops(curve), largest), weights[curve.name])
        for curve in sensitivity.curves
    }


def counts(sensitivity: Sensitivity, sizes: Mapping[str, int], amount: float) -> dict[str, int]:
    """How many weights of each layer go: in all round(amount * their number), to the one."""
    total = sum(sizes.values())
    wanted = round(amount * total)
    found = prices(sensitivity, {name: size / max(total, 1) for name, size in sizes.items()})
    price = _where(lambda price: sum(sizes[name] * each.share(price) for name, each in found.items()), wanted)
    taken = {name: round(each.share(price) * sizes[name]) for name, each in found.items()}
    return _adjusted(taken, sizes, wanted)


def _where(taken: Callable[[float], float], wanted: float) -> float:
    """The lowest price at which so much goes, to a float; `taken` grows with the price without a jump."""
    low, high = 0.0, 1.0
    while taken(high) < wanted and high < math.inf:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if taken(middle) < wanted else (low, middle)
    return high


def _adjusted(taken: dict[str, int], sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """The same to the last weight: what rounding missed is spread over the largest layers, one each in turn."""
    missing = wanted - sum(taken.values())
    while missing:
        step = 1 if missing > 0 else -1
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if missing and 0 <= taken[name] + step <= sizes[name]:
                taken[name] += step
                missing -= step
    return taken


def _finite(sensitivity: Sensitivity, curve: Curve) -> list[float]:
    return [drop for drop in sensitivity.drops(curve) if math.isfinite(drop)]


def _segments(amounts: Sequence[float], drops: Sequence[float], largest: float) -> list[Segment]:
    """The convex curve below that of the drops, which never fall: a lucky example is no reason to take more."""
    points = [(0.0, 0.0)]
    for amount, drop in [*zip(amounts, drops, strict=True), (1.0, math.inf)]:
        if amount > points[-1][0]:
            points.append((amount, max(points[-1][1], min(drop / largest, ALL_GONE))))
    return [Segment(start, end, (up - low) / (end - start)) for (start, low), (end, up) in pairwise(_hull(points))]


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of points from left to right (Andrew 1979)."""
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _above(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether the middle one lies on or above the straight line from the first to the last."""
    return (middle[1] - first[1]) * (last[0] - first[0]) >= (last[1] - first[1]) * (middle[0] - first[0])
