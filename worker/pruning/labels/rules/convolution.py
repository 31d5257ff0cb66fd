"""Convolutions: plain, grouped, depthwise, transposed, in any number of dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from worker.pruning.labels.contraction import Operand
from worker.pruning.labels.planes import Plane, along_axis
from worker.pruning.labels.rules.products import plus
from worker.pruning.labels.spelling import argument, spelled
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters

KERNEL = "a kernel axis"
ALONG = "a convolution along the units"
INSIDE = "an axis inside the groups of a convolution"
NO_INPUT = "a grouped convolution whose input has no units"
NO_WEIGHT = "a grouped convolution whose weight has no units"


@dataclass(frozen=True)
class _Convolution:
    """Operands cut down to their channel axes: input (n, i), weight (o, i / groups) or (i, o / groups)."""

    source: Operand
    weight: Operand
    groups: int
    transposed: bool
    result: tuple[int, int]


def convolution(tracer: Tracer, node: fx.Node) -> Result:
    """The planes of the output; kernels and the axes that they slide along carry no units."""
    source, weight = node.args[:2]
    assert isinstance(source, fx.Node)
    assert isinstance(weight, fx.Node)
    shape = tracer.shape(node)
    if len(tracer.shape(source)) != len(tracer.shape(weight)):
        return tracer.unknown(node)  # no batch axis
    conv = _Convolution(
        _channels(tracer, source, tracer.all_across(source, frozenset(range(2, len(shape))), ALONG)),
        _channels(tracer, weight, _without_kernel(tracer, weight)),
        argument(node, "groups", 1),
        "transpose" in spelled(node) or bool(argument(node, "transposed", False)),
        (shape[0], shape[1]),
    )
    planes = _plain(tracer, conv) if conv.groups == 1 else tracer.book.settle(_grouped(tracer, conv))
    planes = plus(tracer, planes, conv.result, argument(node, "bias"), letters(2))
    still = (1,) * (len(shape) - 2)
    return [Plane(plane.tensor.reshape(*conv.result, *still).expand(shape)) for plane in planes]


def _without_kernel(tracer: Tracer, weight: fx.Node) -> list[Plane]:
    kept = []
    for plane in tracer.planes(weight):
        if plane.axes <= {0, 1}:
            kept.append(plane)
        else:
            tracer.book.freeze(plane, KERNEL)
    return kept


def _channels(tracer: Tracer, node: fx.Node, planes: list[Plane]) -> Operand:
    shape = tracer.shape(node)
    flat = [Plane(plane.first(range(2, len(shape))).tensor.reshape(shape[:2])) for plane in planes]
    return Operand(flat, shape[:2], letters(2), tracer.values.constant[node])


def _plain(tracer: Tracer, conv: _Convolution) -> tuple[Plane, ...]:
    source = Operand(conv.source.planes, conv.source.shape, ["axis-2", "in"], conv.source.constant)
    order = ["in", "axis-1"] if conv.transposed else ["axis-1", "in"]
    weight = Operand(conv.weight.planes, conv.weight.shape, order, conv.weight.constant)
    return tracer.contract([source, weight], letters(2), conv.result)


def _grouped(tracer: Tracer, conv: _Convolution) -> list[Plane]:
    """Groups narrower than there are groups go whole; of wide ones, the same index goes from each."""
    passed = []
    channels: Tensor | None = None
    for plane in conv.source.planes:
        if plane.axes == {1}:
            channels = plane.along(1)
        else:  # heads folded into the batch
            united = tracer.book.unite_along(plane, frozenset((1,))) if 1 in plane.axes else plane.first((1,))
            passed.append(united.expand(conv.result))
    first, second = (_labels(conv.weight, axis) for axis in (0, 1))
    wide = conv.groups < conv.source.shape[1] // conv.groups
    if conv.transposed:
        outputs = _transposed(tracer, conv, channels, first, second, wide)
    elif wide:
        outputs = _same_index(tracer, conv.groups, channels, first, second)
    else:
        outputs = _whole_groups(tracer, conv.groups, channels, first, second)
    return passed if outputs is None else [*passed, along_axis(outputs, 1, conv.result)]


def _labels(weight: Operand, axis: int) -> Tensor | None:
    return next((plane.along(axis) for plane in weight.planes if plane.axes == {axis}), None)


def _whole_groups(
    tracer: Tracer, groups: int, channels: Tensor | None, outputs: Tensor | None, inside: Tensor | None
) -> Tensor | None:
    """Depthwise and narrow groups: the inputs and outputs of a group are one unit."""
    _freeze(tracer, inside, INSIDE)
    if channels is None or outputs is None:
        _freeze(tracer, outputs, NO_INPUT)
        _freeze(tracer, channels, NO_WEIGHT)
        return None
    of_group = _united(tracer, channels.view(groups, -1), 1)
    tracer.book.unite(outputs.view(groups, -1), of_group)
    return outputs


def _same_index(
    tracer: Tracer, groups: int, channels: Tensor | None, outputs: Tensor | None, inside: Tensor | None
) -> Tensor | None:
    """Wide groups: input i of every group is one unit, and so is output i of every group."""
    if channels is None or inside is None:
        _freeze(tracer, inside, NO_INPUT)
        _freeze(tracer, channels, NO_WEIGHT)
    else:
        tracer.book.unite(inside, _united(tracer, channels.view(groups, -1), 0)[0])
    if outputs is not None:
        _united(tracer, outputs.view(groups, -1), 0)
    return outputs


def _transposed(
    tracer: Tracer,
    conv: _Convolution,
    channels: Tensor | None,
    inputs: Tensor | None,
    inside: Tensor | None,
    wide: bool,
) -> Tensor | None:
    """The weight is (inputs, outputs of one group): its inputs are the channels, its outputs those of every group."""
    if channels is None or inputs is None:
        _freeze(tracer, channels, NO_WEIGHT)
        _freeze(tracer, inputs, NO_INPUT)
    else:
        tracer.book.unite(inputs, channels)
        of_group = _united(tracer, channels.view(conv.groups, -1), 0 if wide else 1)
    if wide:
        return None if inside is None else inside.repeat(conv.groups)
    _freeze(tracer, inside, INSIDE)
    if channels is None or inputs is None:
        return None
    return of_group[:, 0].repeat_interleave(conv.result[1] // conv.groups)


def _united(tracer: Tracer, labels: Tensor, axis: int) -> Tensor:
    """All along one axis of (groups, index) are one unit; the first of them, the axis kept."""
    first = labels.narrow(axis, 0, 1)
    tracer.book.unite(labels, first.expand(labels.shape))
    return first


def _freeze(tracer: Tracer, labels: Tensor | None, why: str) -> None:
    if labels is not None:
        tracer.book.freeze(labels, why)


def unfolded(tracer: Tracer, node: fx.Node) -> Result:
    """(n, c, h, w) to (n, c k k, windows): each channel's label once for every place of the kernel."""
    kernel = argument(node, "kernel_size")
    shape = tracer.shape(node)
    planes = tracer.all_across(node.args[0], frozenset((0, 2, 3)), ALONG)  # type: ignore[arg-type]
    places = int(torch.tensor(kernel).prod())
    return [along_axis(plane.along(1).repeat_interleave(places), 1, shape) for plane in planes]


def folded(tracer: Tracer, node: fx.Node) -> Result:
    """(n, c k k, windows) to (n, c, h, w): the places of a kernel are one unit."""
    kernel = argument(node, "kernel_size")
    shape = tracer.shape(node)
    planes = tracer.all_across(node.args[0], frozenset((0, 2)), ALONG)  # type: ignore[arg-type]
    places = int(torch.tensor(kernel).prod())
    return [along_axis(_united(tracer, plane.along(1).view(-1, places), 1)[:, 0], 1, shape) for plane in planes]


RULES: dict[str, Rule] = {
    **dict.fromkeys((f"conv{rank}d" for rank in (1, 2, 3)), convolution),
    **dict.fromkeys((f"conv_transpose{rank}d" for rank in (1, 2, 3)), convolution),
    "convolution": convolution,
    "im2col": unfolded,
    "col2im": folded,
}
