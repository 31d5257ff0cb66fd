"""One node on the table: what it was, the arguments that it is given now, and what is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import fx
from torch._ops import OpOverload

from secateur.errors import SurgeryFailed
from worker.pruning.cut import Axes, Cut
from worker.pruning.labels.spelling import argument
from worker.pruning.surgery.draft import Draft


class Call:
    """An operator and its arguments by the names of its schema; those that are not given have its defaults."""

    def __init__(self, target: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.target = target
        names = [known.name for known in target._schema.arguments]
        self._given = {**dict(zip(names, args, strict=False)), **kwargs}

    def __contains__(self, name: str) -> bool:
        return any(known.name == name for known in self.target._schema.arguments)

    def __getitem__(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        return next(known.default_value for known in self.target._schema.arguments if known.name == name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._given[name] = value

    def become(self, target: OpOverload, /, **given: Any) -> None:
        """Makes it another call."""
        self.target, self._given = target, given

    def spelled(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as a node takes them: positional without gaps, then by keyword."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for index, known in enumerate(self.target._schema.arguments):
            if known.name not in self._given:
                continue
            if not known.kwarg_only and len(args) == index:
                args.append(self._given[known.name])
            else:
                kwargs[known.name] = self._given[known.name]
        return tuple(args), kwargs


class Site:
    """`node` is of the graph that was labelled; `call` has arguments of the graph that is being written."""

    def __init__(self, node: fx.Node, call: Call, cut: Cut, draft: Draft) -> None:
        self.node = node
        self.call = call
        self.cut = cut
        self.draft = draft

    def operand(self, name: str = "self") -> fx.Node:
        """The node of the labelled graph that is given for an argument."""
        given = argument(self.node, name)
        if not isinstance(given, fx.Node):
            raise self.failed(f"it is given {given!r} for its {name}")
        return given

    def was(self, name: str = "self") -> tuple[int, ...]:
        """The shape that an operand had at the probe."""
        shape: tuple[int, ...] = tuple(self.cut.lab.values.of[self.operand(name)].shape)
        return shape

    def kept(self, name: str = "self") -> Axes:
        """What stays along each axis of an operand."""
        return self.cut.kept(self.operand(name))

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """An axis of an operand that an argument names, counted from the front."""
        axis: int = self.call[name] % len(self.was(of))
        return axis

    def failed(self, reason: str) -> SurgeryFailed:
        """The error that names this node."""
        return SurgeryFailed(
            f"The program cannot be rewritten at {self.node.name} ({self.node.target}): {reason}.", node=self.node.name
        )


Rewrite: TypeAlias = Callable[[Site], None]
"""Changes the literals of `site.call` so that it fits what is left."""
