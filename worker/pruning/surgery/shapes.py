"""Literals that say how large a value is to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from worker.pruning.surgery.site import Rewrite, Site


def reshape(site: Site) -> None:
    """New sizes of the output; -1 stays, and stands in for the first size that no longer follows from the inputs."""
    name = "size" if "size" in site.call else "shape"
    site.call[name] = _inferred(site, site.call[name], site.cut.shape(site.node))


def unflatten(site: Site) -> None:
    """As `reshape`, for the axes that one axis is split into."""
    axis, sizes = site.axis(), site.call["sizes"]
    site.call["sizes"] = _inferred(site, sizes, site.cut.shape(site.node)[axis : axis + len(sizes)])


def expand(site: Site) -> None:
    """New sizes; -1 stays, which here means the size that the axis has."""
    site.call["size"] = _followed(site, site.call["size"], site.cut.shape(site.node))


def create(site: Site) -> None:
    """The sizes of a new tensor."""
    site.call["size"] = _followed(site, site.call["size"], site.cut.shape(site.node))


def repeat(site: Site) -> None:
    """How often each axis comes is its new size by the new size of what is repeated."""
    name = "repeats" if "repeats" in site.call else "dims"
    repeats, sizes, operand = list(site.call[name]), site.cut.shape(site.node), site.cut.shape(site.operand())
    for back in range(1, len(repeats) + 1):
        before = operand[-back] if back <= len(operand) else 1
        if not isinstance(repeats[-back], fx.Node) and before:
            repeats[-back] = sizes[-back] // before
    site.call[name] = repeats


def repeat_interleave(site: Site) -> None:
    """The size of the output, where it is told ahead."""
    if isinstance(site.call["output_size"], int):
        site.call["output_size"] = site.cut.shape(site.node)[site.axis()]


def _inferred(site: Site, given: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    result: list[Any] = []
    free = all(entry != -1 for entry in given)
    for entry, size in zip(given, sizes, strict=True):
        if not isinstance(entry, fx.Node):
            result.append(entry if entry == -1 else size)
        elif site.draft.numbers[entry] == size:
            result.append(entry)
        else:
            result.append(-1 if free else site.draft.scaled(entry, size))
            free = False
    return result


def _followed(site: Site, given: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    result: list[Any] = []
    for entry, size in zip(given, sizes, strict=True):
        if not isinstance(entry, fx.Node):
            result.append(entry if entry == -1 else size)
        else:
            result.append(entry if site.draft.numbers[entry] == size else site.draft.scaled(entry, size))
    return result


SHAPES: dict[str, Rewrite] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy"), reshape),
    "unflatten": unflatten,
    **dict.fromkeys(("expand", "expand_copy", "broadcast_to"), expand),
    **dict.fromkeys(("repeat", "tile"), repeat),
    "repeat_interleave": repeat_interleave,
    **dict.fromkeys(("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty"), create),
}
