"""What a network costs when so many units of each part stay: sums of products of axes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
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


def whole(terms: Iterable[Term], sizes: Sequence[int]) -> int:
    """The sum of terms when every unit stays; `sizes` are the numbers of units of all parts."""
    return sum(term.factor * math.prod(_length(axis, sizes) for axis in term.axes) for term in terms)


def lost(terms: Iterable[Term], sizes: Sequence[int], gone: Sequence[int], owners: Sequence[int]) -> Counter[int]:
    """For each owner, by how much the sum of terms is less when `gone[part]` units of each of its parts are gone.

    `owners[part]` is the owner of a part. Each axis of each term is gone through once, however many owners there are.
    """
    found: Counter[int] = Counter()
    for term in terms:
        lengths = [_length(axis, sizes) for axis in term.axes]
        shorter: dict[int, list[int]] = {}
        for at, axis in enumerate(term.axes):
            for part, times in axis.parts:
                shorter.setdefault(owners[part], [0] * len(lengths))[at] += times * gone[part]
        for owner, losses in shorter.items():
            left = (length - loss for length, loss in zip(lengths, losses, strict=True))
            found[owner] += term.factor * (math.prod(lengths) - math.prod(left))
    return found


def _length(axis: Axis, kept: Sequence[int]) -> int:
    return axis.fixed + sum(times * kept[part] for part, times in axis.parts)
