"""Erdos-Renyi-kernel allocation: how much of each layer goes, from shapes alone. The door forecasts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod


def amounts(shapes: Mapping[str, Sequence[int]], amount: float) -> dict[str, float]:
    """The share of each layer's weights that goes when `amount` of all of them do.

    What stays of a layer is in proportion to the sum of its sizes over their product, so that layers with more weights
    lose a larger share (Evci et al. 2020, after Mocanu et al. 2018). A layer that more than all of would stay of stays
    whole, and the others make up for it.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    left = (1 - amount) * sum(sizes.values())
    sparse = dict(shapes)
    while sparse:
        scale = left / max(1, sum(map(sum, sparse.values())))
        full = [name for name, shape in sparse.items() if scale * sum(shape) >= sizes[name]]
        if not full:
            break
        left -= sum(sizes[name] for name in full)
        sparse = {name: shape for name, shape in sparse.items() if name not in full}
    return {name: 1 - scale * sum(shapes[name]) / sizes[name] if name in sparse else 0.0 for name in shapes}
