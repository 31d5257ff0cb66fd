"""What a network costs when so many units of each part stay: sums of products of axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from secateur.units import Axis, Term
from worker.program.operators import name
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.lines import Lines, used_parameters
from worker.pruning.units.macs import MACS
from worker.pruning.units.parts import Parts


def parameters(lab: Labelling, lines: Lines, parts: Parts) -> dict[str, Term]:
    """How many numbers each distinct parameter has, by its first name; those that the graph does not use count, too."""
    nodes = {parameter: node for node, parameter in used_parameters(lab.program).items()}
    return {
        parameter: product(map(parts.length, lines.of(nodes[parameter])))
        if parameter in nodes
        else Term(factor=tensor.numel())
        for parameter, tensor in lab.program.named_parameters()
    }


def macs(lab: Labelling, lines: Lines, parts: Parts) -> tuple[Term, ...]:
    """Multiply-accumulates of the whole graph for the probe batch, as torch.utils.flop_counter counts (flops / 2).

    Convolutions, matrix products, attention and recurrent layers; additions, norms and activations count nothing.
    """

    def of(node: Any) -> Sequence[Term]:
        return tuple(map(parts.length, lines.of(node)))

    found: dict[tuple[Axis, ...], int] = {}
    for node in lab.program.module.graph.nodes:
        if isinstance(lab.values.of.get(node), Tensor | tuple | list) and name(node.target) in MACS:
            for lengths in MACS[name(node.target)](node, of):
                term = product(lengths)
                found[term.axes] = found.get(term.axes, 0) + term.factor
    return tuple(Term(factor=factor, axes=axes) for axes, factor in found.items())


def product(lengths: Iterable[Term]) -> Term:
    """The product of lengths; axes that no unit shortens go into the factor."""
    lengths = list(lengths)
    axes = [axis for length in lengths for axis in length.axes]
    fixed = math.prod(axis.fixed for axis in axes if not axis.parts)
    factor = fixed * math.prod(length.factor for length in lengths)
    return Term(factor=factor, axes=tuple(axis for axis in axes if axis.parts))


class Sum:
    """A sum of terms, and how much of it goes when units go."""

    def __init__(self, terms: Iterable[Term], sizes: Sequence[int]) -> None:
        """`sizes` are the numbers of units of all parts."""
        self._sizes = sizes
        self._with: list[list[int]] = [[] for _ in sizes]
        self._terms = list(terms)
        for index, term in enumerate(self._terms):
            for part in {part for axis in term.axes for part, _ in axis.parts}:
                self._with[part].append(index)
        self._values = [_value(term, sizes) for term in self._terms]

    def whole(self) -> int:
        """The sum when every unit stays."""
        return sum(self._values)

    def lost(self, gone: Mapping[int, int]) -> int:
        """By how much the sum is less when `gone[part]` units of each part are gone."""
        kept = list(self._sizes)
        for part, count in gone.items():
            kept[part] -= count
        touched = {index for part in gone for index in self._with[part]}
        return sum(self._values[index] - _value(self._terms[index], kept) for index in touched)


def _value(term: Term, kept: Sequence[int]) -> int:
    lengths = (axis.fixed + sum(times * kept[part] for part, times in axis.parts) for axis in term.axes)
    return term.factor * math.prod(lengths)
