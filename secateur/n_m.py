"""N:M sparsity: of every M consecutive weights along the input axis at most N stay. Which blocks there are, no torch.

What is left over at the end of the axis, where its size is no multiple of M, belongs to no block and stays whole; so
does a layer whose axis is shorter than M, or whose input axis is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from secateur.allocation import Blocks, Pool
from secateur.errors import NothingPrunable
from secateur.inspection import Layer
from secateur.record import Record
from secateur.spec.n_m import KeepNOfM


class BlockedLayer(Record):
    """The blocks of one layer."""

    name: str
    axis: int | None = Field(description="The input axis, along which blocks lie. null: none is known.")
    blocks: int
    remainder: int = Field(description="Weights that belong to no block; none of them is taken away.")
    fullest: int = Field(description="The most weights that are not zero in any block, counted in what is handed over.")


class BlockedLayers(Record):
    """The proof of an N:M pattern: no block of any chosen layer has more than `keep` weights that are not zero."""

    keep: int
    of: int
    holds: bool
    layers: tuple[BlockedLayer, ...]


def number_of_blocks(layer: Layer, of: int) -> int:
    """How many whole blocks of `of` weights a layer has."""
    if layer.input_axis is None:
        return 0
    size = layer.shape[layer.input_axis]
    return layer.total // size * (size // of) if size else 0


def pools(layers: Iterable[Layer], pattern: KeepNOfM) -> list[Pool]:
    """Each layer by itself; of each of its blocks the same number goes. What has no block loses nothing."""
    return [
        Pool((layer.name,), pattern.amount, blocks=Blocks(layer.input_axis, pattern.of))
        if layer.input_axis is not None and number_of_blocks(layer, pattern.of)
        else Pool((layer.name,), 0.0)
        for layer in layers
    ]


def zeros(layer: Layer, pattern: KeepNOfM) -> int:
    """How many zeros the layer has at the end; at least so many where it has some already that may be anywhere."""
    return max(number_of_blocks(layer, pattern.of) * (pattern.of - pattern.keep), layer.zeros)


def require_blocks(layers: Sequence[Layer], pattern: KeepNOfM) -> None:
    """Raises NothingPrunable where no layer has a block."""
    if any(number_of_blocks(layer, pattern.of) for layer in layers):
        return
    known = [layer for layer in layers if layer.input_axis is not None]
    raise NothingPrunable(
        f"None of the {len(layers)} chosen layers has a block of {pattern.of} weights along an input axis: "
        f"{len(layers) - len(known)} have no input axis that is known, {len(known)} are shorter than that.",
        remedy="Choose other layers or a smaller `of`, or ask for the target sparsity. A model that was inspected "
        "before Secateur knew input axes has none: upload it anew.",
    )


def left_whole(layers: Iterable[Layer], pattern: KeepNOfM) -> list[str]:
    """The names of the layers that have no block."""
    return [layer.name for layer in layers if not number_of_blocks(layer, pattern.of)]


def by_name(layers: Iterable[Layer], names: Mapping[str, object]) -> list[Layer]:
    """Those of `layers` whose names are given."""
    return [layer for layer in layers if layer.name in names]
