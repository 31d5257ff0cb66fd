"""Kernels that trust their arguments, and would read past the end of a tensor: what they rely on is ensured here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from secateur.errors import CorruptArchive, UnsupportedStructure
from worker.program.operators import name
from worker.program.remedies import EXPORT

SCALE_MIN, SCALE_MAX = 1e-4, 1e4
GATES = 4
SAME_SHAPE = frozenset(("to", "_to_copy", "alias", "clone", "contiguous", "detach"))

Shape = tuple[int, ...]


def guard(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> None:
    """Checks literals and the shapes of weights, and has the graph itself check what is only known when it runs.

    Raises CorruptArchive for what does not fit, and UnsupportedStructure for weights whose shape is not known.
    """
    for node in list(graph.nodes):
        called = name(node.target)
        if called == "lstm":
            _guard_lstm(graph, node, tensors)
        elif called == "_weight_norm":
            _check_weight_norm(node, tensors)
        elif "upsample" in called:
            _check_scales(node)
        elif called in ("view", "view_copy"):
            _check_view(node)


def _shape(given: object, tensors: Mapping[str, Tensor]) -> Shape:
    """The shape of a tensor of the state, through casts."""
    while isinstance(given, fx.Node) and name(given.target) in SAME_SHAPE:
        given = given.args[0]
    if isinstance(given, fx.Node) and given.op == "get_attr":
        return tuple(tensors[str(given.target)].shape)
    raise UnsupportedStructure(
        "A recurrent layer, or one under weight normalization, takes weights that are computed, not parameters.",
        remedy=EXPORT,
    )


def _guard_lstm(graph: fx.Graph, node: fx.Node, tensors: Mapping[str, Tensor]) -> None:
    """Expands input and state to the sizes that the weights ask for: the same tensors where they fit, else an error."""
    if len(node.args) != 9:
        raise CorruptArchive("An lstm is called without all of its arguments.")
    given: tuple[Any, ...] = node.args
    source, state, weights, has_biases, layers, _, _, both_ways, batch_first = given
    if not isinstance(layers, int) or not all(isinstance(flag, bool) for flag in (has_biases, both_ways, batch_first)):
        raise CorruptArchive("An lstm is called with a flag or number of layers that is none.")
    shapes = [_shape(weight, tensors) for weight in weights]
    features, states = _check_lstm(shapes, has_biases, layers * (2 if both_ways else 1), 2 if both_ways else 1)
    with graph.inserting_before(node):
        batch = graph.call_function(torch.ops.aten.sym_size.int, (source, 0 if batch_first else 1))
        node.update_arg(0, graph.call_function(torch.ops.aten.expand.default, (source, [-1, -1, features])))
        fitting = [
            graph.call_function(torch.ops.aten.expand.default, (one, [-1, batch, width]))
            for one, width in zip(state, states, strict=True)
        ]
        node.update_arg(1, fitting)


def _check_lstm(shapes: list[Shape], has_biases: bool, cells: int, directions: int) -> tuple[int, tuple[int, int]]:
    """The features of the input, and those of the two states: of what is put out, and of the cell.

    The weights of a cell are input to gates, (4 * hidden, features), state to gates, (4 * hidden, out), two biases of
    (4 * hidden), and (out, hidden) where it has a projection.
    """
    each, rest = divmod(len(shapes), cells) if cells > 0 else (0, 1)
    biases = 2 if has_biases else 0
    if rest or each not in (2 + biases, 3 + biases) or len(shapes[0]) != 2 or len(shapes[1]) != 2:
        raise CorruptArchive(f"An lstm of {cells} cells has {len(shapes)} weights.")
    features, out, hidden = shapes[0][1], shapes[1][1], shapes[0][0] // GATES
    projection = [(out, hidden)] if each == 3 + biases else []
    if not projection and out != hidden:
        raise CorruptArchive(f"The weights of an lstm are {shapes[0]} and {shapes[1]}, which do not fit each other.")
    rows = GATES * hidden
    for cell in range(cells):
        width = features if cell < directions else out * directions
        expected = [(rows, width), (rows, out), *[(rows,)] * biases, *projection]
        found = shapes[cell * each : (cell + 1) * each]
        if found != expected:
            raise CorruptArchive(f"The weights of an lstm have the shapes {found}; {expected} are expected.")
    return features, (out, hidden)


def _check_weight_norm(node: fx.Node, tensors: Mapping[str, Tensor]) -> None:
    direction, length = (_shape(given, tensors) for given in node.args[:2])
    axis = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    if not isinstance(axis, int) or not -1 <= axis < len(direction):
        raise CorruptArchive(f"A weight of the shape {direction} is normalized along axis {str(axis)[:50]}.")
    expected = 1 if axis == -1 else direction[axis]
    if math.prod(length) != expected:
        raise CorruptArchive(
            f"A weight of the shape {direction}, normalized along axis {axis}, has the lengths {length};"
            f" {expected} are expected."
        )


def _check_scales(node: fx.Node) -> None:
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if not argument.name.startswith("scale"):
            continue
        given = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        for scale in given if isinstance(given, list | tuple) else [given]:
            if scale is None:
                continue
            if not isinstance(scale, int | float) or not SCALE_MIN <= scale <= SCALE_MAX:
                raise CorruptArchive(
                    f"aten.{name(node.target)} scales by {str(scale)[:50]}; numbers from {SCALE_MIN} to {SCALE_MAX:g}"
                    " are allowed."
                )


def _check_view(node: fx.Node) -> None:
    """Bytes that are neither 0 nor 1 are no booleans: to index by them is undefined."""
    if torch.bool in (*node.args, *node.kwargs.values()):
        raise CorruptArchive("The program takes the bytes of a tensor for booleans.")
