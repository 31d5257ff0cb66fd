"""Which cells there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Literal

from benchmarks.accuracy import recipes
from benchmarks.accuracy.candidates import CANDIDATES, FINALISTS
from benchmarks.accuracy.cell import OURS, Cell
from benchmarks.accuracy.point import POINTS, Point
from benchmarks.accuracy.recipe import Recipe

Named = tuple[str, str, Recipe]
"""Method, variant, and what that is."""


def final() -> list[Cell]:
    """Those of the final table: the frozen recipes, on the test images."""
    return list(_cells(recipes.FINAL_SEEDS, "test", _frozen))


def choosing() -> list[Cell]:
    """On the choice images: the others with every rate that they can choose, and every candidate.

    A candidate that was dropped after the first seed is not among the FINALISTS, and has no more.
    """
    cells = _cells(recipes.CHOICE_SEEDS, "choice", _possible)
    first = recipes.CHOICE_SEEDS[0]
    return [cell for cell in cells if cell.seed == first or cell.method != OURS or cell.variant in FINALISTS]


def frozen(network: str, point: Point) -> dict[str, str]:
    """Of every method, the variant that the final table has."""
    return {method: variant for method, variant, _ in _frozen(network, point)}


def _cells(
    seeds: Iterable[int], on: Literal["choice", "test"], methods: Callable[[str, Point], Iterator[Named]]
) -> Iterator[Cell]:
    for seed, network, point in product(seeds, recipes.NETWORKS, POINTS):
        for method, variant, recipe in methods(network, point):
            terms = recipe.terms(recipes.DENSE[network])
            yield Cell(network=network, seed=seed, point=point, method=method, variant=variant, terms=terms, on=on)


def _frozen(network: str, point: Point) -> Iterator[Named]:
    name = recipes.OURS[point.kind]
    yield OURS, name, CANDIDATES[point.kind][name]
    for method, recipe in recipes.PEERS[point.kind].items():
        yield method, *_at(recipe, recipes.PEER_RATES[network][method])


def _possible(network: str, point: Point) -> Iterator[Named]:
    for method, recipe in recipes.PEERS[point.kind].items():
        for rate in recipes.RATES:
            yield method, *_at(recipe, rate)
    for name, candidate in CANDIDATES[point.kind].items():
        yield OURS, name, candidate


def _at(recipe: Recipe, rate: float) -> tuple[str, Recipe]:
    return f"{rate:.0%} of the rate", replace(recipe, rate=rate)
