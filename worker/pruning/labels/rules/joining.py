"""Concatenation and stacking: the units of all operands one after another, those along other axes tied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from worker.pruning.labels.contraction import Operand
from worker.pruning.labels.planes import Plane
from worker.pruning.labels.spelling import argument, spelled
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters


@dataclass(frozen=True)
class _Piece:
    planes: tuple[Plane, ...]
    shape: tuple[int, ...]
    constant: bool


def cat(tracer: Tracer, node: fx.Node) -> Result:
    """Tensors one after another along an axis; empty ones of one axis are left out, as torch does."""
    given: Any = node.args[0]
    axis = argument(node, "dim", 0) % len(tracer.shape(node))
    pieces = [
        _Piece(tracer.planes(tensor), tracer.shape(tensor), tracer.values.constant[tensor])
        for tensor in given
        if tracer.shape(tensor) != (0,)
    ]
    return _joined(tracer, node, pieces, axis)


def beside(tracer: Tracer, node: fx.Node) -> Result:
    """hstack and vstack: along axis 1 or 0, of tensors that have both."""
    if len(tracer.shape(node)) < 2 or {len(tracer.shape(tensor)) for tensor in node.all_input_nodes} == {1}:
        return tracer.unknown(node)
    given: Any = node.args[0]
    pieces = [_Piece(tracer.planes(one), tracer.shape(one), tracer.values.constant[one]) for one in given]
    return _joined(tracer, node, pieces, 1 if spelled(node) == "hstack" else 0)


def stack(tracer: Tracer, node: fx.Node) -> Result:
    """Tensors one after another along a new axis."""
    given: Any = node.args[0]
    axis = argument(node, "dim", 0) % len(tracer.shape(node))
    pieces = []
    for tensor in given:
        shape = tracer.shape(tensor)
        planes = tuple(Plane(plane.tensor.unsqueeze(axis)) for plane in tracer.planes(tensor))
        pieces.append(_Piece(planes, (*shape[:axis], 1, *shape[axis:]), tracer.values.constant[tensor]))
    return _joined(tracer, node, pieces, axis)


def _joined(tracer: Tracer, node: fx.Node, pieces: list[_Piece], axis: int) -> Result:
    shape = tracer.shape(node)
    return [*_tied(tracer, pieces, axis, shape), *_lined_up(pieces, axis, shape)]


def _tied(tracer: Tracer, pieces: list[_Piece], axis: int, shape: tuple[int, ...]) -> list[Plane]:
    """What lies along the other axes is of one unit in all pieces.

    A plane that varies along the joining axis and along others takes part, so that those do not count as neutral.
    """
    axes = letters(len(shape))
    operands = []
    for piece in pieces:
        planes = [plane.first((axis,)) for plane in piece.planes if plane.axes != {axis}]
        operands.append(Operand(planes, _narrowed(piece.shape, axis), axes, piece.constant))
    return [plane.expand(shape) for plane in tracer.contract(operands, axes, _narrowed(shape, axis))]


def _lined_up(pieces: list[_Piece], axis: int, shape: tuple[int, ...]) -> list[Plane]:
    """The planes along the joining axis, one after another; a piece without units is frozen there."""
    along = [[plane for plane in piece.planes if axis in plane.axes] for piece in pieces]
    lines = []
    for place in range(max(map(len, along))):
        parts = [
            planes[place] if place < len(planes) else Plane(torch.zeros(1, dtype=torch.int64).expand(piece.shape))
            for planes, piece in zip(along, pieces, strict=True)
        ]
        varying = frozenset[int]().union(*(part.axes for part in parts)) | {axis}
        still = frozenset(range(len(shape))) - varying
        lines.append(Plane(torch.cat([part.first(still).tensor for part in parts], axis).expand(shape)))
    return lines


def _narrowed(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


RULES: dict[str, Rule] = {"cat": cat, "stack": stack, "hstack": beside, "vstack": beside}
