"""Operators that only move entries: they run on the labels themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from worker.program.catalogue import words
from worker.pruning.labels.planes import Plane, along_axis
from worker.pruning.labels.spelling import argument, evaluated, out_of_place
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters

MOVES = words("""
    adjoint atleast_1d atleast_2d atleast_3d channel_shuffle chunk diagonal flip fliplr flipud mH mT movedim narrow
    native_channel_shuffle numpy_T permute pixel_unshuffle rot90 select split squeeze t tensor_split
    transpose unbind unsqueeze
""")
RESHAPES = words("flatten ravel unflatten view")


def reshape(tracer: Tracer, node: fx.Node) -> Result:
    """The same entries in the same order, in another shape."""
    if node.target is torch.ops.aten.view.dtype:
        return tracer.unknown(node)
    shape = tracer.shape(node)
    return [plane.reshape(shape) for plane in tracer.planes(node.args[0])]


def move(tracer: Tracer, node: fx.Node) -> Result:
    """The same call on each plane of the operand; units are united along an axis where it takes places that vary."""
    assert isinstance(node.target, OpOverload)
    call: Callable[..., Any] = out_of_place(node.target)
    source: Any = node.args[0]
    known = tracer.values.of
    args, kwargs = evaluated(node.args[1:], known), evaluated(node.kwargs, known)
    planes: Sequence[Plane] = tracer.planes(source)
    if len(node.all_input_nodes) > 1:
        planes = tracer.all_across(source, _axes(tracer, node), VARYING)
    moved = [call(plane.tensor, *args, **kwargs) for plane in planes]
    if isinstance(known[node], Tensor):
        return [Plane(labels) for labels in moved]
    return [[Plane(labels[index]) for labels in moved] for index in range(len(known[node]))]


def item(tracer: Tracer, node: fx.Node) -> Result:
    """One of several tensors that a node gives."""
    source: Any = node.args[0]
    index: Any = node.args[1]
    items = tracer.items(source)
    return items[index] if items else ()


def part(tracer: Tracer, node: fx.Node) -> Result:
    """A slice; with a step, or bounds that vary, along one of several varying axes, units are united along it first."""
    source: Any = node.args[0]
    axes = _axes(tracer, node)
    (axis,) = axes
    step = argument(node, "step", 1)
    planes: Sequence[Plane] = tracer.planes(source)
    if step != 1 or len(node.all_input_nodes) > 1:
        planes = tracer.all_across(source, axes, VARYING if step == 1 else STRIDED)
    start, end = (
        tracer.values.of.get(bound, bound) if isinstance(bound, fx.Node) else bound
        for bound in (argument(node, "start"), argument(node, "end"))
    )
    return [Plane(torch.ops.aten.slice.Tensor(plane.tensor, axis, start, end, step)) for plane in planes]


def _axes(tracer: Tracer, node: fx.Node) -> frozenset[int]:
    """The axis that a call names; all of its operand where it names none."""
    source: Any = node.args[0]
    rank, axis = len(tracer.shape(source)), argument(node, "dim")
    return frozenset(range(rank)) if axis is None else frozenset((axis % rank,))


def reshaped_as(tracer: Tracer, node: fx.Node) -> Result:
    """The shape comes from another tensor, whose axes therefore shrink together with these."""
    source: Any = node.args[0]
    like: Any = node.args[1]
    shape = tracer.shape(node)
    axes = letters(len(shape))
    planes = tracer.book.settle(plane.reshape(shape) for plane in tracer.planes(source))
    operand = tracer.operand(like, axes)
    return tracer.contract([tracer.operand(node, axes, planes), operand], axes, shape)


def pixel_shuffle(tracer: Tracer, node: fx.Node) -> Result:
    """(.., c r r, h, w) to (.., c, h r, w r): the r r entries that become one channel are one unit."""
    source: Any = node.args[0]
    shape, rank = tracer.shape(node), len(tracer.shape(source))
    planes = []
    for plane in tracer.all_across(source, frozenset((rank - 2, rank - 1)), SUBPIXELS):
        if plane.axes == {rank - 3}:
            labels = plane.along(rank - 3).view(shape[-3], -1)
            tracer.book.unite(labels, labels[:, :1].expand(labels.shape))
            planes.append(along_axis(labels[:, 0], rank - 3, shape))
        else:
            planes.append(tracer.book.unite_along(plane, frozenset((rank - 3,))).first((-2, -1)).expand(shape))
    return planes


def as_complex(tracer: Tracer, node: fx.Node) -> Result:
    """The last axis holds the two parts of one number."""
    source: Any = node.args[0]
    last = frozenset((len(tracer.shape(source)) - 1,))
    return [Plane(plane.tensor.select(-1, 0)) for plane in tracer.all_across(source, last, COMPLEX)]


def as_real(tracer: Tracer, node: fx.Node) -> Result:
    """A complex number becomes two real ones along a new last axis."""
    return [Plane(plane.tensor.unsqueeze(-1)).expand(tracer.shape(node)) for plane in tracer.planes(node.args[0])]


SUBPIXELS = "a shuffle of the places along the units"
COMPLEX = "the parts of a complex number"
STRIDED = "a slice with a step along the units"
VARYING = "which of the units are taken varies with the sizes of the inputs"

RULES: dict[str, Rule] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(RESHAPES, reshape),
    "getitem": item,
    "slice": part,
    "reshape_as": reshaped_as,
    "pixel_shuffle": pixel_shuffle,
    "view_as_complex": as_complex,
    "view_as_real": as_real,
}
