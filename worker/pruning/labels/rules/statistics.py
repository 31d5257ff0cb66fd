"""Operators that look along an axis: norms, reductions, softmax, sorting, pooling.

A statistic over an axis of units is taken over those that stay, so units may lie on it; what picks or orders entries
would be another function then, and freezes them. Units that lie across the axis pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from worker.program.catalogue import words
from worker.pruning.labels.contraction import Operand
from worker.pruning.labels.planes import Plane
from worker.pruning.labels.spelling import argument, spelled
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters

STATISTICS = words("""
    all amax amin any count_nonzero logsumexp mean median nanmean nansum norm prod std std_mean sum var var_mean
""")
PICKS = words("""
    argmax argmin kthvalue mode
""")
ORDERS = words("""
    argsort cumprod cumsum diff logcumsumexp cummax cummin log_softmax renorm softmax sort topk
""")
POOLS = {
    **{f"{kind}_pool{rank}d": rank for kind in ("adaptive_avg", "adaptive_max", "avg", "max") for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": rank for rank in (1, 2, 3)},
    **dict.fromkeys(("upsample_linear1d", "upsample_nearest1d", "_upsample_nearest_exact1d"), 1),
    **dict.fromkeys(
        ("upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d", "_upsample_nearest_exact2d"), 2
    ),
    **dict.fromkeys(("_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "grid_sampler"), 2),
    **dict.fromkeys(("upsample_trilinear3d", "upsample_nearest3d", "_upsample_nearest_exact3d"), 3),
}
PICKED = "entries are picked among the units"
ORDERED = "an operator whose entries depend on their order or rank among the units"
TRANSFORMS = frozenset(f"fft_{kind}fft{axes}" for kind in ("", "i", "r", "ir") for axes in ("", "2", "n"))
POOLED = "pooling along the units"
NORMED = "a normalization of each instance along the units"
GROUPED = "a group norm across the units"


def reduce(tracer: Tracer, node: fx.Node) -> Result:
    """Axes go, or stay at size 1; units along one of them leave with it."""
    source: Any = node.args[0]
    rank = len(tracer.shape(source))
    axes = _axes(argument(node, "dim"), rank)
    picks = spelled(node) in PICKS or (spelled(node) in ("max", "min") and isinstance(tracer.values.of[node], tuple))
    shape = tracer.shape(node)
    planes = []
    for plane in tracer.planes(source):
        if plane.axes <= axes and plane.axes:
            if picks:
                tracer.book.freeze(plane, PICKED)
            continue
        left = tracer.book.unite_along(plane, axes) if plane.axes & axes else plane.first(axes)
        planes.append(left if len(shape) == rank else Plane(_squeezed(left.tensor, axes)))
    return planes if isinstance(tracer.values.of[node], Tensor) else [planes] * len(tracer.values.of[node])


def extreme(tracer: Tracer, node: fx.Node) -> Result:
    """max and min: of two tensors, entry by entry, or along an axis."""
    if len(node.args) > 1 and isinstance(node.args[1], fx.Node):
        axes = letters(len(tracer.shape(node)))
        both = [tracer.operand(given, axes) for given in node.args[:2] if isinstance(given, fx.Node)]
        return tracer.contract(both, axes, tracer.shape(node))
    return reduce(tracer, node)


def order(tracer: Tracer, node: fx.Node) -> Result:
    """What depends on all entries along an axis and gives as many."""
    source: Any = node.args[0]
    axes = _axes(argument(node, "dim", -1), len(tracer.shape(source)))
    planes = tracer.all_across(source, axes, ORDERED)
    value = tracer.values.of[node]
    if isinstance(value, Tensor):
        return planes
    still = frozenset(range(len(value[0].shape)))
    return [[plane.first(still - plane.axes).expand(tuple(one.shape)) for plane in planes] for one in value]


def pool(tracer: Tracer, node: fx.Node) -> Result:
    """The last axes are pooled or resampled; arguments that are tensors place the samples."""
    source: Any = node.args[0]
    rank = len(tracer.shape(source))
    axes = frozenset(range(rank - POOLS[spelled(node)], rank))
    for given in node.args[1:]:
        tracer.freeze(given, POOLED)
    shape = tracer.shape(node)
    planes = [plane.first(axes).expand(shape) for plane in tracer.all_across(source, axes, POOLED)]
    return planes if isinstance(tracer.values.of[node], Tensor) else [planes, ()]


def transform(tracer: Tracer, node: fx.Node) -> Result:
    """Fourier transforms: every entry along the axes depends on all of them."""
    source: Any = node.args[0]
    given = argument(node, "dim", -1)
    rank = len(tracer.shape(source))
    axes = frozenset(range(rank)) if given is None else _axes(given, rank)
    shape = tracer.shape(node)
    return [plane.first(axes).expand(shape) for plane in tracer.all_across(source, axes, ORDERED)]


def layer_norm(tracer: Tracer, node: fx.Node) -> Result:
    """Layer and RMS norm: statistics over the last axes, then a factor and a term of their shape."""
    source: Any = node.args[0]
    shape = tracer.shape(source)
    rank = len(shape)
    axes = frozenset(range(rank - len(argument(node, "normalized_shape")), rank))
    planes = _normed(tracer, source, axes)
    result = _scaled(tracer, source, planes, ("weight", "bias"), node, letters(rank))
    return result if isinstance(tracer.values.of[node], Tensor) else [result, (), ()]


def batch_norm(tracer: Tracer, node: fx.Node) -> Result:
    """Everything is by channel. Statistics of the batch, where they are taken, run over what is left of other axes."""
    source: Any = node.args[0]
    names = ("weight", "bias", "running_mean", "running_var")
    return _scaled(tracer, source, list(tracer.planes(source)), names, node, _channel(tracer, source))


def instance_norm(tracer: Tracer, node: fx.Node) -> Result:
    """Statistics over all axes behind the channels."""
    source: Any = node.args[0]
    planes = tracer.all_across(source, frozenset(range(2, len(tracer.shape(source)))), NORMED)
    names = ("weight", "bias", "running_mean", "running_var")
    return _scaled(tracer, source, planes, names, node, _channel(tracer, source))


def group_norm(tracer: Tracer, node: fx.Node) -> Result:
    """Of few wide groups the same index goes from each; of many narrow ones whole groups go."""
    source: Any = node.args[0]
    groups = argument(node, "num_groups") or argument(node, "group")
    channels = tracer.shape(source)[1]
    planes = []
    for plane in tracer.planes(source):
        if plane.axes == {1}:
            if 1 < groups < channels:
                labels = plane.along(1).view(groups, -1)
                axis = 0 if groups <= channels // groups else 1
                tracer.book.unite(labels, labels.narrow(axis, 0, 1).expand(labels.shape))
            planes.append(plane)
        else:
            passed = tracer.across(plane, frozenset(range(1, len(plane.tensor.shape))), GROUPED)
            planes += [] if passed is None else [passed]
    result = _scaled(tracer, source, planes, ("weight", "bias"), node, _channel(tracer, source))
    return result if isinstance(tracer.values.of[node], Tensor) else [result, (), ()]


def weight_norm(tracer: Tracer, node: fx.Node) -> Result:
    """v / |v| * g, the norm over all axes but `dim`."""
    direction, length = node.args[:2]
    assert isinstance(direction, fx.Node)
    assert isinstance(length, fx.Node)
    shape = tracer.shape(direction)
    axes = letters(len(shape))
    return tracer.contract([tracer.operand(direction, axes), tracer.operand(length, axes)], axes, shape)


def prelu(tracer: Tracer, node: fx.Node) -> Result:
    """A slope for each channel, or one for all."""
    source: Any = node.args[0]
    return _scaled(tracer, source, list(tracer.planes(source)), ("weight",), node, _channel(tracer, source))


def glu(tracer: Tracer, node: fx.Node) -> Result:
    """One half of an axis gates the other."""
    shape = tracer.shape(node)
    axis = argument(node, "dim", -1) % len(shape)
    halves = [plane.tensor.chunk(2, axis) for plane in tracer.planes(node.args[0])]
    axes = letters(len(shape))
    operands = [
        Operand(tracer.book.settle(Plane(labels) for labels in side), shape, axes)
        for side in (list(zip(*halves, strict=True)) or [(), ()])
    ]
    return tracer.contract(operands, axes, shape)


def triangle(tracer: Tracer, node: fx.Node) -> Result:
    """What keeps a triangle of the last two axes depends on the places along both."""
    source: Any = node.args[0]
    rank = len(tracer.shape(source))
    return tracer.all_across(source, frozenset((rank - 2, rank - 1)), ORDERED)


def _normed(tracer: Tracer, source: fx.Node, axes: frozenset[int]) -> list[Plane]:
    """Units that also lie on other axes are united along those that the statistics run over."""
    shape = tracer.shape(source)
    return [
        tracer.book.unite_along(plane, axes).expand(shape) if plane.axes & axes and plane.axes - axes else plane
        for plane in tracer.planes(source)
    ]


def _scaled(
    tracer: Tracer, source: fx.Node, planes: Sequence[Plane], names: Sequence[str], node: fx.Node, places: Sequence[str]
) -> tuple[Plane, ...]:
    """The planes of the source tied with those of the named arguments, whose last axes lie under `places`."""
    shape = tracer.shape(source)
    axes = letters(len(shape))
    operands = [tracer.operand(source, axes, planes)]
    for name in names:
        given = argument(node, name)
        if isinstance(given, fx.Node):
            operands.append(tracer.operand(given, places))
    return tracer.contract(operands, axes, shape)


def _channel(tracer: Tracer, source: fx.Node) -> list[str]:
    return letters(len(tracer.shape(source)))[1:2] or ["axis-1"]


def _axes(given: Any, rank: int) -> frozenset[int]:
    if given is None or given == []:
        return frozenset(range(rank))
    return frozenset(axis % rank for axis in ([given] if isinstance(given, int) else given)) if rank else frozenset()


def _squeezed(labels: Tensor, axes: frozenset[int]) -> Tensor:
    for axis in sorted(axes, reverse=True):
        labels = labels.select(axis, 0)
    return labels


RULES: dict[str, Rule] = {
    **dict.fromkeys(STATISTICS | PICKS, reduce),
    **dict.fromkeys(ORDERS, order),
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(("max", "min"), extreme),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    **dict.fromkeys(("tril", "triu"), triangle),
    **dict.fromkeys(TRANSFORMS, transform),
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "_weight_norm": weight_norm,
    "prelu": prelu,
    "glu": glu,
}
