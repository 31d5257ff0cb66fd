"""Operators that pick entries by index: tables, gathers, rolls, windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from worker.pruning.labels.contraction import Operand
from worker.pruning.labels.planes import Plane
from worker.pruning.labels.spelling import argument
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters

INDEXED = "an index among the units"
ROWS = "rows of a table that an index picks"
ROLLED = "a roll along the units"
WINDOWS = "windows along the units"


def index_select(tracer: Tracer, node: fx.Node) -> Result:
    """Entries in the order of an index. A constant one can be rewritten, so that the labels go through it."""
    source, _, index = node.args[:3]
    assert isinstance(source, fx.Node)
    assert isinstance(index, fx.Node)
    shape = tracer.shape(node)
    axis = argument(node, "dim") % len(shape)
    constant = tracer.values.real.get(index) if index.op == "get_attr" else None
    planes = []
    for plane in tracer.planes(source):
        if axis in plane.axes and constant is not None:
            planes.append(Plane(plane.tensor.index_select(axis, constant)))
        else:
            passed = tracer.across(plane, frozenset((axis,)), INDEXED)
            planes += [] if passed is None else [passed.first((axis,)).expand(shape)]
    return planes


def index(tracer: Tracer, node: fx.Node) -> Result:
    """Advanced indexing: units that lie on an indexed axis are frozen, unless they lie on another one, too."""
    source: Any = node.args[0]
    indices: Any = node.args[1]
    axes = frozenset(axis for axis, given in enumerate(indices) if given is not None)
    if any(tracer.values.of[given].dtype == torch.bool for given in indices if given is not None):
        return _by_mask(tracer, node, source)
    rank = max(len(tracer.shape(given)) for given in indices if given is not None)
    first = torch.zeros((1,) * rank, dtype=torch.int64)
    places = [None if given is None else first for given in indices]
    shape = tracer.shape(node)
    planes = tracer.all_across(source, axes, INDEXED)
    return [Plane(torch.ops.aten.index.Tensor(plane.core, places).expand(shape)) for plane in planes]


def _by_mask(tracer: Tracer, node: fx.Node, source: fx.Node) -> Result:
    tracer.freeze(source, INDEXED)
    return []


def gather(tracer: Tracer, node: fx.Node) -> Result:
    """Along one axis the index says which; along the others it lies beside the source."""
    source: Any = node.args[0]
    index: Any = argument(node, "index") or argument(node, "indices")
    shape = tracer.shape(node)
    axis = argument(node, "dim")
    if axis is None:
        return tracer.unknown(node)  # through the flattened value
    axis %= len(shape)
    axes = letters(len(shape))
    planes = [plane.first((axis,)) for plane in tracer.all_across(source, frozenset((axis,)), INDEXED)]
    lying = tuple(1 if at == axis else size for at, size in enumerate(tracer.shape(source)))
    operands = [Operand(planes, lying, axes, tracer.values.constant[source]), tracer.operand(index, axes)]
    return tracer.contract(operands, axes, shape)


def embedding(tracer: Tracer, node: fx.Node) -> Result:
    """Rows of a table: the rows stay, the features are units."""
    table, index = node.args[:2]
    assert isinstance(table, fx.Node)
    shape = tracer.shape(node)
    tracer.freeze(index, INDEXED)
    planes = tracer.all_across(table, frozenset((0,)), ROWS)
    return [Plane(plane.tensor[0].expand(shape)) for plane in planes]


def roll(tracer: Tracer, node: fx.Node) -> Result:
    """Entries shifted around; without axes, through the flattened value."""
    source: Any = node.args[0]
    rank = len(tracer.shape(source))
    given = argument(node, "dims") or range(rank)
    return tracer.all_across(source, frozenset(axis % rank for axis in given), ROLLED)


def unfold(tracer: Tracer, node: fx.Node) -> Result:
    """Windows along one axis, which get a last axis of their own."""
    source: Any = node.args[0]
    axis = argument(node, "dimension") % len(tracer.shape(source))
    shape = tracer.shape(node)
    planes = tracer.all_across(source, frozenset((axis,)), WINDOWS)
    return [Plane(plane.tensor.narrow(axis, 0, 1).unsqueeze(-1).expand(shape)) for plane in planes]


RULES: dict[str, Rule] = {
    "index_select": index_select,
    "index": index,
    "gather": gather,
    "take_along_dim": gather,
    "embedding": embedding,
    "roll": roll,
    "unfold": unfold,
}
