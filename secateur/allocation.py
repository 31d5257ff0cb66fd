"""How much goes from where: which weights are ranked together, and what share of them is taken. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur import erk


@dataclass(frozen=True)
class Pool:
    """Weights that are ranked together, in this order, and the share of all their entries that is taken away."""

    names: tuple[str, ...]
    amount: float


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


def by_shape(chosen: Mapping[str, float | None], amount: float, shapes: Shapes) -> list[Pool]:
    """Each layer by itself, by an amount that follows from its shape."""
    common = erk.amounts({name: shapes[name] for name, own in chosen.items() if own is None}, amount)
    return [Pool((name,), common[name] if own is None else own) for name, own in chosen.items()]


SCOPES = {"global": whole, "layer": apart, "erk": by_shape}
"""Every scope of the spec: (chosen layers with their own amounts or None, the common amount, shapes) -> pools."""
