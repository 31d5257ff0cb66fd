"""Axes that a literal makes: expanding, repeating, padding, new tensors. Their labels are soft, they follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import fx

from worker.program.catalogue import words
from worker.pruning.labels.planes import Plane, along_axis
from worker.pruning.labels.spelling import argument, evaluated, spelled
from worker.pruning.labels.tracer import Result, Rule, Tracer

NEW = words("""
    empty full new_empty new_full new_ones new_zeros ones zeros
""")
PADDED = "padding along the units"


def new(tracer: Tracer, node: fx.Node) -> Result:
    """A new tensor: each axis whose size is a number may shrink with what it meets."""
    sizes: Any = node.args[1] if spelled(node).startswith("new_") else node.args[0]
    return _grown(tracer, node, range(len(sizes)), sizes)


def expand(tracer: Tracer, node: fx.Node) -> Result:
    """Axes of size 1 repeated to a size."""
    source: Any = node.args[0]
    sizes: Any = node.args[1]
    return _repeated(tracer, node, sizes, [plane.expand(tracer.shape(node)) for plane in tracer.planes(source)])


def repeat(tracer: Tracer, node: fx.Node) -> Result:
    """The whole value several times along an axis."""
    source: Any = node.args[0]
    times: Any = node.args[1]
    counts = evaluated(times, tracer.values.of)
    shape = tracer.shape(node)
    ahead = len(shape) - len(tracer.shape(source))
    planes = []
    for plane in tracer.planes(source):
        along = [count if axis - ahead in plane.axes else 1 for axis, count in enumerate(counts)]
        planes.append(Plane(plane.core.repeat(along).expand(shape)))
    return _repeated(tracer, node, times, planes)


def expand_as(tracer: Tracer, node: fx.Node) -> Result:
    """Axes of size 1 repeated to those of another tensor, whose units they then carry."""
    source: Any = node.args[0]
    shape = tracer.shape(node)
    planes = [plane.expand(shape) for plane in tracer.planes(source)]
    for axis in _widened(tracer.shape(source), shape):
        planes += [plane.expand(shape) for plane in tracer.planes(node.args[1]) if plane.axes == {axis}]
    return planes


def repeat_interleave(tracer: Tracer, node: fx.Node) -> Result:
    """Each entry several times in a row."""
    source: Any = node.args[0]
    times, axis = argument(node, "repeats"), argument(node, "dim")
    if not isinstance(times, int) or axis is None:
        return tracer.unknown(node)
    axis %= len(tracer.shape(source))
    shape = tracer.shape(node)
    return [
        Plane(plane.tensor.repeat_interleave(times, axis))
        if axis in plane.axes
        else Plane(plane.tensor.narrow(axis, 0, 1).expand(shape))
        for plane in tracer.planes(source)
    ]


def pad(tracer: Tracer, node: fx.Node) -> Result:
    """Padding of an axis of units brings units of its own, which can go; that of other axes brings none."""
    source: Any = node.args[0]
    widths: Any = evaluated(node.args[1], tracer.values.of)
    mode = argument(node, "mode", "constant") if spelled(node) == "pad" else "constant"
    last = len(tracer.shape(source)) - 1
    padded = {last - index: (widths[2 * index], widths[2 * index + 1]) for index in range(len(widths) // 2)}
    changed = frozenset(axis for axis, width in padded.items() if width != (0, 0))
    planes = []
    for plane in tracer.planes(source):
        hit = plane.axes & changed
        simple = len(plane.axes) == 1 and mode == "constant" and all(min(padded[axis]) >= 0 for axis in hit)
        passed = plane if not hit or simple else tracer.across(plane, hit, PADDED)
        if passed is not None:
            planes.append(_padded(tracer, node, passed, padded))
    return planes


def edge_pad(tracer: Tracer, node: fx.Node) -> Result:
    """Padding with what lies at the border, over the last axes."""
    source: Any = node.args[0]
    rank = len(tracer.shape(source))
    widths: Any = node.args[1]
    axes = frozenset(range(rank - len(widths) // 2, rank))
    shape = tracer.shape(node)
    return [plane.first(axes).expand(shape) for plane in tracer.all_across(source, axes, PADDED)]


def _padded(tracer: Tracer, node: fx.Node, plane: Plane, padded: dict[int, tuple[int, int]]) -> Plane:
    shape = tracer.shape(node)
    still = frozenset(range(len(shape))) - plane.axes
    grown = [axis for axis in plane.axes if padded.get(axis, (0, 0)) != (0, 0)]
    if not grown:
        return plane.first(still).expand(shape)
    axis = grown[0]
    before, after = padded[axis]
    labels = [plane.along(axis)]
    if before:
        labels.insert(0, tracer.soft(node, "before", before))
    if after:
        labels.append(tracer.soft(node, "after", after))
    return along_axis(torch.cat(labels), axis, shape)


def _repeated(tracer: Tracer, node: fx.Node, sizes: Sequence[Any], planes: list[Plane]) -> Result:
    """The planes of the source, and soft ones along each axis of size 1 that a number repeats."""
    source: Any = node.args[0]
    return planes + _grown(tracer, node, _widened(tracer.shape(source), tracer.shape(node)), sizes)


def _grown(tracer: Tracer, node: fx.Node, axes: Iterable[int], sizes: Sequence[Any]) -> list[Plane]:
    shape = tracer.shape(node)
    return [
        along_axis(tracer.soft(node, axis, shape[axis]), axis, shape)
        for axis in axes
        if isinstance(sizes[axis], int) and shape[axis] > 1
    ]


def _widened(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """The axes of `after` that `before` lacks or has at size 1."""
    ahead = len(after) - len(before)
    return [axis for axis in range(len(after)) if after[axis] > 1 and (axis < ahead or before[axis - ahead] == 1)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(NEW, new),
    "expand": expand,
    "broadcast_to": expand,
    "expand_as": expand_as,
    "repeat": repeat,
    "tile": repeat,
    "repeat_interleave": repeat_interleave,
    "pad": pad,
    "constant_pad_nd": pad,
    **dict.fromkeys((f"{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)), edge_pad),
}
