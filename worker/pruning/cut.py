"""Which indices stay on every axis of every value of a graph, and the smaller tensors that follow from it."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, fx

from secateur.errors import SurgeryFailed
from worker.program.program import named_tensors
from worker.pruning.labels.labelling import Labelling
from worker.pruning.labels.planes import Plane, lying

Axes: TypeAlias = tuple[Tensor | None, ...]
"""For each axis of a value what stays: bool, as long as the axis was, or None where all of it stays."""


class Cut:
    """What is left of every value when some units are gone.

    Sizes are those of the probe that the labels were made with (`lab.values.batch` examples).
    """

    def __init__(self, lab: Labelling, removed: Tensor) -> None:
        """`removed` is bool of shape (lab.count,): True where the unit with this label goes; 0 is frozen and stays."""
        if removed.shape != (lab.count,) or removed.dtype != torch.bool or bool(removed[0]):
            raise SurgeryFailed(f"What to remove must be {lab.count} flags, of which the first, the frozen, is False.")
        self.lab = lab
        self.removed = removed
        self._known: dict[fx.Node, tuple[Axes, ...]] = {}
        self._named = dict(named_tensors(lab.program.module))
        nodes = lab.program.module.graph.find_nodes(op="get_attr")
        self._nodes = {id(self._named[str(node.target)]): node for node in nodes}

    def kept(self, node: fx.Node) -> Axes:
        """What stays along each axis of a tensor; of a node that gives no tensor, ()."""
        return self.items(node)[0] if isinstance(self.lab.values.of.get(node), Tensor) else ()

    def items(self, node: fx.Node) -> tuple[Axes, ...]:
        """What stays of each tensor that a node gives; of a node that gives one, of that."""
        if node not in self._known:
            self._known[node] = self._axes_of(node)
        return self._known[node]

    def touches(self, node: fx.Node) -> bool:
        """Whether anything that a node gives becomes smaller."""
        return any(kept is not None for axes in self.items(node) for kept in axes)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The new shape of a tensor at the probe."""
        return shape_left(self.lab.values.of[node].shape, self.kept(node))

    def tensor(self, name: str) -> Axes:
        """What stays of a parameter or buffer; all of one that the graph does not use."""
        tensor = self._named[name]
        node = self._nodes.get(id(tensor))
        return (None,) * tensor.dim() if node is None else self.kept(node)

    def left_of(self, node: fx.Node, value: Tensor) -> Tensor:
        """The part that stays of what a node gives for a batch of any size. Raises SurgeryFailed."""
        axes = zip(self.kept(node), value.shape, strict=True)
        return part(value, tuple(self.stretched(kept, size) for kept, size in axes))

    def stretched(self, kept: Tensor | None, size: int) -> Tensor | None:
        """What stays of an axis that is `size` long in some run; where the batch is folded into it, it has grown."""
        if kept is None or len(kept) == size:
            return kept
        probe = self.lab.values.batch
        rows = kept.view(probe, -1) if len(kept) % probe == 0 else kept.view(1, -1)
        if bool((rows == rows[0]).all()) and size % rows.shape[1] == 0:
            return rows[0].repeat(size // rows.shape[1])
        columns = kept.view(-1, probe) if len(kept) % probe == 0 else kept.view(-1, 1)
        if bool((columns == columns[:, :1]).all()) and size % len(columns) == 0:
            return columns[:, 0].repeat_interleave(size // len(columns))
        raise SurgeryFailed(f"An axis of {len(kept)} entries has {size} here, and no pattern says which of them stay.")

    def slice(self, name: str, tensor: Tensor) -> Tensor:
        """The part that stays of a tensor shaped as the parameter or buffer `name`."""
        return part(tensor, self.tensor(name))

    @torch.no_grad()
    def scatter(self, name: str, small: Tensor, into: Tensor) -> None:
        """Puts what stayed back into the full-size place; what was removed becomes 0.

        `into` is shaped as the parameter or buffer `name` is, and changes in place: `slice` gives `small` again.
        Where `name` is no floating tensor nothing happens: integers do not learn, and surgery renumbers indices.
        """
        if self._named[name].is_floating_point() or self._named[name].is_complex():
            put(small, into, self.tensor(name))

    def _axes_of(self, node: fx.Node) -> tuple[Axes, ...]:
        value = self.lab.values.of.get(node)
        if isinstance(value, Tensor):
            return (self._axes(node, self.lab.planes(node), value.dim()),)
        if not isinstance(value, tuple | list):
            return ()
        tensors = zip(self.lab.items(node), value, strict=True)
        return tuple(
            self._axes(node, planes, item.dim() if isinstance(item, Tensor) else 0) for planes, item in tensors
        )

    def _axes(self, node: fx.Node, planes: tuple[Plane, ...], dim: int) -> Axes:
        axes: list[Tensor | None] = [None] * dim
        for plane in planes:
            if not bool(self.removed[plane.core].any()):
                continue
            if len(plane.axes) != 1:
                raise SurgeryFailed(
                    f"The units at {node.name} do not lie along one axis (but {sorted(plane.axes)}).", node=node.name
                )
            (axis,) = plane.axes
            stays, known = ~self.removed[plane.along(axis)], axes[axis]
            axes[axis] = stays if known is None else stays & known
        return tuple(axes)


def shape_left(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """The sizes that are left of a shape."""
    return tuple(size if kept is None else int(kept.sum()) for size, kept in zip(shape, axes, strict=True))


def part(tensor: Tensor, axes: Axes) -> Tensor:
    """The entries of a tensor that stay; the tensor itself where all do."""
    for axis, kept in enumerate(axes):
        if kept is not None:
            tensor = tensor.index_select(axis, kept.to(tensor.device).nonzero().flatten())
    return tensor


def present(axes: Axes) -> Tensor:
    """Which entries stay: bool, of as many axes, broadcasting to the value's shape."""
    stays = torch.ones((1,) * len(axes), dtype=torch.bool)
    for axis, kept in enumerate(axes):
        if kept is not None:
            stays = stays & lying(kept, axis, len(axes))
    return stays


def put(small: Tensor, into: Tensor, axes: Axes) -> None:
    """Writes `small` to the entries of `into` that stay, and 0 to all others."""
    if all(kept is None for kept in axes):
        into.copy_(small)
        return
    into.zero_()
    places = [
        torch.arange(size) if kept is None else kept.nonzero().flatten()
        for size, kept in zip(into.shape, axes, strict=True)
    ]
    mesh = [lying(place.to(into.device), axis, into.dim()) for axis, place in enumerate(places)]
    into[tuple(mesh)] = small.to(into)
