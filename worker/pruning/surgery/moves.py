"""A check of every node that moves entries, alone and before anything runs: it must still move the survivors alike."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from secateur.errors import SurgeryFailed
from worker.pruning.cut import Axes, Cut, part, shape_left
from worker.pruning.labels.planes import lying
from worker.pruning.labels.spelling import evaluated, out_of_place, spelled
from worker.pruning.surgery.draft import Draft

MOVES = frozenset(
    (
        *("broadcast_to", "channel_shuffle", "chunk", "constant_pad_nd", "diagonal", "expand", "expand_as", "flatten"),
        *("flip", "index_select", "movedim", "narrow", "native_channel_shuffle", "numpy_T", "pad", "permute"),
        *("pixel_shuffle", "pixel_unshuffle", "ravel", "repeat", "repeat_interleave", "reshape_as", "roll", "select"),
        *("slice", "split", "squeeze", "t", "tensor_split", "tile", "transpose", "unbind", "unflatten", "unfold"),
        *("unsqueeze", "view"),
    )
)

EXACT = 1 << 24
"""Whole numbers below this are exact in float32."""


def check_move(node: fx.Node, written: fx.Node, cut: Cut, draft: Draft) -> None:
    """Raises SurgeryFailed where the rewritten node does not give the surviving entries of what the node gave.

    Each entry is known by its coordinates, one axis at a time: `written` on the coordinates of the survivors must give
    the survivors of what `node` gives on all coordinates.
    """
    operand = node.args[0] if node.args else None
    if spelled(node) not in MOVES or not isinstance(operand, fx.Node):
        return
    shape, kept = tuple(cut.lab.values.of[operand].shape), cut.kept(operand)
    before = ChainMap(cut.lab.values.real, cut.lab.values.of)
    after = _known_after(node, written, cut, draft)
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        places = torch.arange(1, size + 1, dtype=torch.float32 if size < EXACT else torch.float64)
        old = _run(node, lying(places, axis, len(shape)).expand(shape), before)
        left = lying(part(places, kept[axis : axis + 1]), axis, len(shape)).expand(shape_left(shape, kept))
        new = _run(node, left, after, written)
        if not all(_same(*pair) for pair in zip(old, cut.items(node), new, strict=True)):
            raise SurgeryFailed(
                f"{node.name} ({node.target}) cannot follow the cut: what is left along axis {axis} of its input would "
                "end up in other places.",
                node=node.name,
            )


def _known_after(node: fx.Node, written: fx.Node, cut: Cut, draft: Draft) -> Mapping[fx.Node, Any]:
    """The numbers at the probe, the constants, and of other tensors the shape."""
    known: dict[fx.Node, Any] = dict(draft.numbers)
    values = cut.lab.values
    for given in node.all_input_nodes:
        if isinstance(values.of[given], Tensor):
            known[draft.nodes[given]] = values.real.get(given, torch.empty(cut.shape(given), device="meta"))
    for given in written.all_input_nodes:
        if given.op == "get_attr" and given.target in draft.constants:
            known[given] = draft.constants[str(given.target)]
    return known


def _run(
    node: fx.Node, coordinates: Tensor, known: Mapping[fx.Node, Any], written: fx.Node | None = None
) -> tuple[Tensor, ...]:
    """What a node, or what was written for it, makes of coordinates."""
    call = written or node
    assert isinstance(call.target, OpOverload)
    try:
        given = evaluated((call.args[1:], dict(call.kwargs)), known)
        result = out_of_place(call.target)(coordinates, *given[0], **given[1])
    except Exception as error:
        raise SurgeryFailed(
            f"{node.name} ({node.target}) cannot follow the cut: {str(error)[:200]}", node=node.name
        ) from error
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _same(old: Tensor, kept: Axes, new: Tensor) -> bool:
    """Whether `new` is what is kept of `old`; axes along which both are constant are looked at once."""
    if shape_left(tuple(old.shape), kept) != tuple(new.shape):
        return False
    left = list(kept)
    for axis in range(old.dim()):
        if old.stride(axis) == 0 == new.stride(axis) and new.size(axis):
            old, new, left[axis] = old.narrow(axis, 0, 1), new.narrow(axis, 0, 1), None
    return torch.equal(part(old, tuple(left)), new)
