"""How much goes from where: which weights are ranked together, and what share of them is taken. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from secateur import erk
from secateur.sensitivity import Sensitivity
from secateur.spread import counts


@dataclass(frozen=True)
class Blocks:
    """Runs of `of` consecutive weights along an axis; what is left over at its end belongs to none."""

    axis: int
    of: int


@dataclass(frozen=True)
class Pool:
    """Weights that are ranked together, in this order, and the share of all their entries that is taken away."""

    names: tuple[str, ...]
    amount: float
    by_row: bool = False
    """Whether the share is taken of each row (index of the first axis) of each weight by itself."""
    blocks: Blocks | None = None
    """Whether the share is taken of each block of each weight by itself."""


Shapes = Mapping[str, Sequence[int]]
"""Of every chosen layer's weight."""


def whole(chosen: Mapping[str, float | None], amount: float, shapes: Shapes) -> list[Pool]:
    """All that is chosen in one pool; a layer with an amount of its own is a pool of its own."""
    common = tuple(name for name, own in chosen.items() if own is None)
    own = [Pool((name,), own) for name, own in chosen.items() if own is not None]
    return [Pool(common, amount), *own] if common else own


def apart(chosen: Mapping[str, float | None], amount: float, shapes: Shapes) -> list[Pool]:
    """Each layer by itself."""
    return [Pool((name,), amount if own is None else own) for name, own in chosen.items()]


def by_row(chosen: Mapping[str, float | None], amount: float, shapes: Shapes) -> list[Pool]:
    """Each row of each layer by itself: what leads to one output of a linear layer or convolution.

    Rows are those of the tensor as it is stored. Transposed convolutions and what `x @ w` multiplies are stored with
    their inputs first, so that a row is what comes from one input; a row of an embedding is one index's vector.
    """
    return [replace(pool, by_row=True) for pool in apart(chosen, amount, shapes)]


def by_shape(chosen: Mapping[str, float | None], amount: float, shapes: Shapes) -> list[Pool]:
    """Each layer by itself, by an amount that follows from its shape."""
    common = erk.amounts({name: shapes[name] for name, own in chosen.items() if own is None}, amount)
    return [Pool((name,), common[name] if own is None else own) for name, own in chosen.items()]


def by_sensitivity(chosen: Mapping[str, float | None], shapes: Shapes, amount: float, found: Sensitivity) -> list[Pool]:
    """Each layer by itself, by an amount that follows from what it matters; in all as many weights as of one pool."""
    sizes = {name: prod(shapes[name]) for name, own in chosen.items() if own is None}
    taken = counts(found, sizes, amount)
    return [Pool((name,), taken[name] / max(1, sizes[name]) if own is None else own) for name, own in chosen.items()]


SCOPES = {"global": whole, "layer": apart, "erk": by_shape, "row": by_row, "sensitivity": whole}
"""Every scope of the spec: (chosen layers with their own amounts or None, the common amount, shapes) -> pools.

Those of `sensitivity` say how much goes in all, which is known before anything is measured; see `by_sensitivity`.
"""
