"""Where units are born: on the outputs of the operators that use a parameter as their weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from worker.program.layers import WEIGHT_ARGUMENTS
from worker.program.operators import name
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.lines import Line, Lines, Vector, used_parameters


@dataclass(frozen=True)
class Birth:
    """The labels that one weight gives to one axis of an operator's output, each once, in the order of the axis."""

    weight: str
    operator: str
    labels: Vector
    rows: Vector
    """How many entries of the axis each label has: a head has as many as its size."""


def births(lab: Labelling, lines: Lines) -> Iterator[Birth]:
    """All births in the order of the graph, an output's axes from first to last.

    A weight may come through casts, views, concatenations and normalisations of weights: whatever is computed from
    parameters alone. Of several parameters behind it, the largest that carries a label is the one that gives it.
    """
    origins = _Origins(lab, lines)
    for node in lab.program.module.graph.nodes:
        operator = name(node.target)
        carried = origins.behind(node, WEIGHT_ARGUMENTS.get(operator, ()))
        for line in _lines_of(lines, node) if carried else ():
            left = line.ordered()
            for weight, labels in carried.items():
                given = np.isin(left, labels)
                if given.any():
                    yield Birth(weight, operator, left[given], line.count(left[given]))
                left = left[~given]


def _lines_of(lines: Lines, node: fx.Node) -> Iterator[Line]:
    for sides in lines.values(node):
        for side in sides:
            yield from side.lines


class _Origins:
    """The parameters behind what an operator takes as its weight."""

    def __init__(self, lab: Labelling, lines: Lines) -> None:
        self._constant = lab.values.constant
        self._named = used_parameters(lab.program)
        self._labels = {node: _labels(lines, node) for node in self._named}
        self._ranks = {node: (-lab.values.of[node].numel(), place) for place, node in enumerate(self._named)}

    def behind(self, node: fx.Node, indices: tuple[int, ...]) -> dict[str, Vector]:
        """Names and labels of the parameters behind those arguments, the largest first."""
        found: set[fx.Node] = set()
        for index in indices:
            given: Any = node.args[index] if index < len(node.args) else ()
            for weight in given if isinstance(given, list | tuple) else (given,):
                if isinstance(weight, fx.Node) and self._constant.get(weight):
                    found |= self._sources(weight)
        order = sorted(found, key=self._ranks.__getitem__)
        return {self._named[source]: self._labels[source] for source in order}

    def _sources(self, weight: fx.Node) -> frozenset[fx.Node]:
        """The parameters that a constant is computed from."""
        waiting, seen = [weight], {weight}
        while waiting:
            for given in waiting.pop().all_input_nodes:
                if given not in seen:
                    seen.add(given)
                    waiting.append(given)
        return frozenset(node for node in seen if node in self._named)


def _labels(lines: Lines, node: fx.Node) -> Vector:
    found = [line.labels for side in lines.of(node) for line in side.lines]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
