"""Literals that name places along an axis: where a piece begins, which index is taken, how much is added."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from worker.program.operators import name
from worker.pruning.surgery.site import Rewrite, Site

aten = torch.ops.aten


def slice_(site: Site) -> None:
    """Both bounds move to the number of survivors before them; open ends stay open."""
    kept = site.kept()[site.axis()]
    if kept is not None:
        for bound in ("start", "end"):
            place = site.call[bound]
            if isinstance(place, int) and place <= len(kept):
                site.call[bound] = _before(kept, place)


def narrow(site: Site) -> None:
    """The start moves, and the length is what is left between the old bounds."""
    kept, start, length = site.kept()[site.axis()], site.call["start"], site.call["length"]
    if kept is not None and isinstance(start, int):
        start = start % len(kept) if start < 0 else start
        site.call["start"], site.call["length"] = _before(kept, start), int(kept[start : start + length].sum())


def select(site: Site) -> None:
    """The index becomes the number of survivors before it."""
    kept = site.kept()[site.axis()]
    if kept is not None and isinstance(site.call["index"], int):
        site.call["index"] = _before(kept, site.call["index"])


def split(site: Site) -> None:
    """Pieces are no longer equal: every way to split becomes the one that is told each size."""
    axis = site.axis()
    if site.kept()[axis] is None:
        return
    pieces = zip(site.cut.lab.values.of[site.node], site.cut.items(site.node), strict=True)
    sizes = [_count(kept[axis], 0, piece.shape[axis]) for piece, kept in pieces]
    copied = name(site.call.target).endswith("_copy")
    target = aten.split_with_sizes_copy.default if copied else aten.split_with_sizes.default
    site.call.become(target, self=site.call["self"], split_sizes=sizes, dim=axis)


def squeeze(site: Site) -> None:
    """An axis that is down to one survivor is still an axis: only those are named that had size 1 before."""
    was, now = site.was(), site.cut.shape(site.operand())
    asked = site.call["dim"] if "dim" in site.call else list(range(len(was)))
    axes = [axis % len(was) for axis in (asked if isinstance(asked, list | tuple) else [asked])]
    if any(now[axis] == 1 != was[axis] for axis in axes):
        packet = site.call.target.overloadpacket
        site.call.become(packet.dims, self=site.call["self"], dim=[axis for axis in axes if was[axis] == 1])


def pad(site: Site) -> None:
    """What is added is counted among what stays of the output, what is cut off among the survivors of the input."""
    pads, operand, result = list(site.call["pad"]), site.kept(), site.cut.kept(site.node)
    for index in range(len(pads)):
        axis = len(result) - 1 - index // 2
        if (operand[axis] is None and result[axis] is None) or not isinstance(pads[index], int):
            continue
        kept = operand[axis] if pads[index] < 0 else result[axis]
        length = (site.was() if pads[index] < 0 else site.cut.lab.values.of[site.node].shape)[axis]
        amount = abs(pads[index])
        bounds = (0, amount) if index % 2 == 0 else (length - amount, length)
        pads[index] = _count(kept, *bounds) * (-1 if pads[index] < 0 else 1)
    site.call["pad"] = pads


def gather(site: Site) -> None:
    """Constant indices are renumbered: of those that stay, the rank among the survivors."""
    axis = site.axis()
    kept = site.kept()[axis]
    if kept is None:
        return
    index = site.operand("index")
    chosen = site.cut.lab.values.real.get(index)
    if chosen is None:
        raise site.failed("units lie along the axis that it takes from, and its indices are not constant")
    stays = site.cut.kept(site.node)[axis]
    chosen = chosen if stays is None else chosen[stays]
    if not bool(kept[chosen].all()):
        raise site.failed("it takes a unit that is removed")
    ranks = (kept.cumsum(0) - 1)[chosen].to(chosen.dtype)
    if index.op == "get_attr" and _used_once(index):
        site.draft.constants[str(index.target)] = ranks
    else:
        site.call["index"] = site.draft.constant(f"{site.node.name}_index", ranks)


def _before(kept: Tensor, place: int) -> int:
    """The survivors before a place, which may be counted from the end."""
    return int(kept[: place if place >= 0 else max(0, len(kept) + place)].sum())


def _count(kept: Tensor | None, start: int, end: int) -> int:
    return end - start if kept is None else int(kept[start:end].sum())


def _used_once(constant: fx.Node) -> bool:
    same: list[Any] = [node for node in constant.graph.find_nodes(op="get_attr") if node.target == constant.target]
    return sum(len(node.users) for node in same) == 1


PLACES: dict[str, Rewrite] = {
    **dict.fromkeys(("slice", "slice_copy", "slice_scatter"), slice_),
    "narrow": narrow,
    **dict.fromkeys(("select", "select_copy", "select_scatter"), select),
    **dict.fromkeys(("chunk", "split", "split_copy", "split_with_sizes", "split_with_sizes_copy"), split),
    **dict.fromkeys(("tensor_split", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes"), split),
    **dict.fromkeys(("squeeze", "squeeze_copy"), squeeze),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    "index_select": gather,
}
