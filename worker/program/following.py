"""Rewrites the literals of a graph that are the batch size of its example, by watching what follows the batch.

`torch.export.export(model, (x,))` without dynamic shapes writes the example's batch size into views, expansions and new
tensors. The graph is run once at that size and once, while it is rewritten, at another: at every node it is known then
which axes of its operands follow the batch, and so which literal of a view is the batch, or a multiple of it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from worker.program.catalogue import CREATION
from worker.program.operators import name

RESHAPES = frozenset(("view", "reshape", "_unsafe_view", "view_copy"))
FLATTENS = frozenset(("flatten", "unflatten"))
EXPANDS = frozenset(("expand", "broadcast_to", "repeat", "tile"))
RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))

Shape = tuple[int, ...]

# How much that is as long as the batch is taken for the batch, beside what must be.
VIEWS_ONLY, NEW_TENSORS, RANGES = 0, 1, 2


def follow_batch(
    module: fx.GraphModule, batch: int, at_batch: Sequence[Tensor], at_next: Sequence[Tensor], level: int
) -> None:
    """Rewrites the graph of `module` in place, given inputs of `batch` and of `batch + 1` examples."""
    shapes = _Shapes(module)
    with torch.no_grad():
        shapes.run(*at_batch)
        _Rewriter(module, shapes.seen, batch, level).run(*at_next)
    module.recompile()


class _Shapes(fx.Interpreter):
    """Notes the shape of every tensor on the way."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Shape] = {}

    def run_node(self, node: fx.Node) -> Any:
        """Runs one node."""
        result = super().run_node(node)
        if isinstance(result, Tensor):
            self.seen[node] = tuple(result.shape)
        return result


class _Rewriter(fx.Interpreter):
    """Runs a graph at another batch size, and mends each literal just before its node runs."""

    def __init__(self, module: fx.GraphModule, before: dict[fx.Node, Shape], batch: int, level: int) -> None:
        super().__init__(module)
        self._graph = module.graph
        self._before = before
        self._batch = batch
        self._level = level
        self._multiples: dict[int, fx.Node] = {}
        self._shapes: dict[fx.Node, Shape] = {}
        self._outer: dict[fx.Node, int] = {}

    def run_node(self, node: fx.Node) -> Any:
        """Mends and runs one node."""
        called = name(node.target)
        if called in RESHAPES:
            self._mend(node, 1, self._reshaped(node))
        elif called == "unflatten":
            self._mend(node, 2, 0 if self._varying(node.args[0]) == node.args[1] else None)
        elif called in EXPANDS:
            self._mend(node, 1, self._expanded(node))
        elif called in CREATION - {"arange"} and self._level >= NEW_TENSORS:
            index = 1 if called.startswith("new_") else 0
            self._mend(node, index, self._created(node, index))
        elif called == "arange" and self._level >= RANGES:
            self._mend_end(node)
        result = super().run_node(node)
        if isinstance(result, Tensor):
            self._shapes[node] = tuple(result.shape)
            self._note_outer(node)
        return result

    def _varying(self, node: object) -> int | None:
        """The first axis of a value that has changed with the batch."""
        if not isinstance(node, fx.Node) or node not in self._before:
            return None
        before = self._before[node]
        now = self._shapes[node]
        return next((axis for axis, (was, size) in enumerate(zip(before, now, strict=True)) if was != size), None)

    def _reshaped(self, node: fx.Node) -> int | None:
        """The axis of a view in which the batch begins: where as many elements lie outside it as in the input.

        At a batch of 1 several axes may qualify. The first is taken, unless it would take in all that follows, as no
        axis of features does; then the one before is.
        """
        outside = self._outside(node.args[0])
        if outside is None:
            return None
        shape = self._before[node]
        ahead = _ahead(shape)
        whole = [axis for axis, size in enumerate(shape) if size % self._batch == 0]
        exact = [axis for axis in whole if ahead[axis] == outside]
        around = [axis for axis in whole if ahead[axis] <= outside < ahead[axis] * shape[axis]]
        before = [axis for axis in whole if ahead[axis] < outside == ahead[axis] * shape[axis]]
        takes_all = bool(exact and before) and exact[0] == len(shape) - 1 and shape[-1] > self._batch
        return next(iter(before + exact + around if takes_all else exact + around), None)

    def _outside(self, node: object) -> int | None:
        """How many elements of a value lie outside one step along the batch; None where it does not vary."""
        axis = self._varying(node)
        if axis is None or not isinstance(node, fx.Node):
            return None
        return _ahead(self._before[node])[axis] * self._outer.get(node, 1)

    def _note_outer(self, node: fx.Node) -> None:
        """Notes how much of the varying axis lies outside the batch, as in (sequence * batch, features)."""
        axis = self._varying(node)
        if axis is None:
            return
        shape = self._before[node]
        for source in node.all_input_nodes:
            outside, varied = self._outside(source), self._varying(source)
            if outside is None or varied is None:
                continue
            if name(node.target) in RESHAPES | FLATTENS:
                self._outer[node] = max(1, outside // _ahead(shape)[axis])
            elif self._before[source][varied] == shape[axis]:
                self._outer[node] = self._outer.get(source, 1)

    def _expanded(self, node: fx.Node) -> int | None:
        """The axis of an expansion that is the batch: the one that varies already, or a first one of that size."""
        source: Any = node.args[0]
        sizes: Any = node.args[1]
        axis = self._varying(source)
        if axis is not None:
            moved = len(sizes) - len(self._before[source])
            return axis + moved if name(node.target) in ("expand", "broadcast_to") else None
        grows = len(sizes) > len(self._before[source]) or self._before[source][0] == 1
        return 0 if self._level >= NEW_TENSORS and grows and sizes[0] == self._batch else None

    def _created(self, node: fx.Node, index: int) -> int | None:
        """The axis of a new tensor that is the batch: the first, or the second of a recurrent layer's state."""
        sizes = node.args[index] if len(node.args) > index else None
        if not isinstance(sizes, list | tuple):
            return None
        users = [user for first in node.users for user in (first, *(first.users if _expands(first) else ()))]
        axis = 1 if any(name(user.target) in RECURRENT for user in users) else 0
        return axis if len(sizes) > axis and sizes[axis] == self._batch else None

    def _mend(self, node: fx.Node, index: int, axis: int | None) -> None:
        """Replaces one literal by the batch, or by its multiple."""
        if axis is None:
            return
        given: Any = node.args[index]
        sizes = list(given)
        if isinstance(sizes[axis], int) and sizes[axis] > 0 and sizes[axis] % self._batch == 0:
            sizes[axis] = self._multiple(sizes[axis] // self._batch)
            node.update_arg(index, sizes)

    def _mend_end(self, node: fx.Node) -> None:
        index = 0 if len(node.args) == 1 else 1
        if node.args[index] == self._batch:
            node.update_arg(index, self._multiple(1))

    def _multiple(self, times: int) -> fx.Node:
        """The node of a multiple of the batch, made once, ahead of all that could use it."""
        if times not in self._multiples:
            first = self._graph.find_nodes(op="placeholder")[0]
            size = self._multiple(1) if times > 1 else None
            with self._graph.inserting_after(size or self._graph.find_nodes(op="placeholder")[-1]):
                if size is None:
                    made = self._graph.call_function(torch.ops.aten.sym_size.int, (first, 0))
                else:
                    made = self._graph.call_function(operator.mul, (size, times))
            self.env[made] = times * (self._batch + 1)
            self._multiples[times] = made
        return self._multiples[times]


def _expands(node: fx.Node) -> bool:
    """Whether a node is what worker.program.kernels puts between a recurrent layer and its state."""
    return name(node.target) == "expand"


def _ahead(shape: Shape) -> list[int]:
    """For each axis, the product of the sizes ahead of it."""
    return [math.prod(shape[:axis]) for axis in range(len(shape))]
