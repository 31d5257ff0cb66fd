"""The graph that is being written, with what its numbers are at the probe."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from worker.program.operators import name
from worker.pruning.cut import Cut
from worker.pruning.labels.spelling import argument, evaluated


class Draft:
    """Nodes are added in the order of the labelled graph; `nodes` leads from there to here."""

    def __init__(self, cut: Cut) -> None:
        self.graph = fx.Graph()
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.numbers: dict[fx.Node, Any] = {}
        """Sizes, and what is computed from them, as they are at the probe after the cut."""
        self.constants: dict[str, Tensor] = {}
        """Tensors of indices that were renumbered, by the names of their buffers."""
        self._cut = cut

    def here(self, given: Any) -> Any:
        """Arguments of the labelled graph as arguments of this one."""
        return fx.node.map_arg(given, lambda node: self.nodes[node])

    def copy(self, node: fx.Node) -> None:
        """Adds a node as it was."""
        copied = self.graph.node_copy(node, lambda given: self.nodes[given])
        self.nodes[node] = copied
        if node.op == "call_function" and not _gives_tensors(self._cut.lab.values.of[node]):
            self.numbers[copied] = self._number(node, copied)

    def scaled(self, number: fx.Node, size: int) -> fx.Node:
        """A node for what is `size` at the probe, and grows as `number` does: 6 heads where there were 12 a batch."""
        known = self.numbers[number]
        shared = math.gcd(size, known)
        product = self.graph.call_function(operator.mul, (number, size // shared))
        result = self.graph.call_function(operator.floordiv, (product, known // shared))
        self.numbers[product], self.numbers[result] = known * (size // shared), size
        return result

    def constant(self, wanted: str, indices: Tensor) -> fx.Node:
        """A node for a new buffer, named as wanted or nearly so."""
        module, taken = self._cut.lab.program.module, self.constants
        names = (wanted if count == 0 else f"{wanted}_{count}" for count in range(len(taken) + 1000))
        free = next(found for found in names if found not in taken and not hasattr(module, found))
        self.constants[free] = indices
        return self.graph.get_attr(free)

    def _number(self, node: fx.Node, copied: fx.Node) -> Any:
        called = name(node.target)
        operand = argument(node, "self")
        if called == "sym_size":
            return self._cut.shape(operand)[argument(node, "dim")]
        if called == "sym_numel":
            return math.prod(self._cut.shape(operand))
        if called:
            return self._cut.lab.values.of[node]
        target: Callable[..., Any] = copied.target  # type: ignore[assignment]
        return target(*evaluated(copied.args, self.numbers), **evaluated(copied.kwargs, self.numbers))


def _gives_tensors(value: Any) -> bool:
    return isinstance(value, Tensor | tuple | list)
