"""One pass over a graph: what each node does to the planes of its operands, asked of the rules by the node's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, fx

from worker.program.program import Program, named_tensors
from worker.pruning.labels.book import Book
from worker.pruning.labels.contraction import Operand, contract
from worker.pruning.labels.planes import Plane, Planes, along_axis
from worker.pruning.labels.spelling import spelled
from worker.pruning.labels.values import Values

OUTPUT = "an output of the network"

Result: TypeAlias = Sequence[Plane] | Sequence[Sequence[Plane]]
Rule: TypeAlias = "Callable[[Tracer, fx.Node], Result]"
"""(tracer, node) -> the planes of its value, or a list of them where the node gives several tensors."""


class Tracer:
    """The planes of every node, as far as the pass has come."""

    def __init__(
        self, program: Program, values: Values, book: Book, rules: Mapping[str, Rule], *, stable: bool, closed: set[str]
    ) -> None:
        """`stable`: nothing changed in the pass before; `closed` names nodes whose operands are frozen on request."""
        self.values = values
        self.book = book
        self.heads: set[int] = set()
        self._stable = stable
        self._rules = rules
        self._closed = closed
        self._tensors = dict(named_tensors(program.module))
        self._planes: dict[fx.Node, Planes] = {}
        self._items: dict[fx.Node, tuple[Planes, ...]] = {}

    def run(self, graph: fx.Graph) -> None:
        """All nodes, in order."""
        for node in graph.nodes:
            self.book.node = node
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                for given in node.all_input_nodes:
                    self.freeze(given, OUTPUT)

    def planes(self, node: Any) -> Planes:
        """Of a tensor; nothing where an argument is no tensor."""
        if not isinstance(node, fx.Node):
            return ()
        if node.op == "get_attr" and node not in self._planes:
            self._planes[node] = self._own(node)
        return self._planes.get(node, ())

    def items(self, node: fx.Node) -> tuple[Planes, ...]:
        """Of each of several tensors that a node gives; empty where it gives one."""
        return self._items.get(node, ())

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape at the probe batch."""
        return self.values.shape(node)

    def operand(self, node: fx.Node, letters: Sequence[str], planes: Sequence[Plane] | None = None) -> Operand:
        """A node as an operand of a contraction, its last axes under `letters`; with other planes where given."""
        shape = self.shape(node)
        known = self.planes(node) if planes is None else planes
        return Operand(known, shape, letters[len(letters) - len(shape) :], self.values.constant[node])

    def contract(self, operands: Sequence[Operand], letters: Sequence[str], shape: tuple[int, ...]) -> Planes:
        """See worker.pruning.labels.contraction."""
        return contract(self.book, operands, letters, shape, stable=self._stable, heads=self.heads)

    def freeze(self, node: Any, why: str) -> None:
        """Nothing that crosses a value can be removed."""
        for plane in self.planes(node):
            self.book.freeze(plane, why)
        for planes in self.items(node) if isinstance(node, fx.Node) else ():
            for plane in planes:
                self.book.freeze(plane, why)

    def across(self, plane: Plane, axes: frozenset[int], why: str) -> Plane | None:
        """A plane past an operator that mixes what lies along `axes`.

        Units along one of several axes are united along it and go on by the others; units that lie on these axes alone
        are frozen, and None says that nothing goes on: a frozen plane handed on would freeze what it meets next.
        """
        if not plane.axes & axes:
            return plane
        if plane.axes - axes:
            united = self.book.unite_along(plane, axes)
            return united.expand(tuple(plane.tensor.shape))
        self.book.freeze(plane, why)
        return None

    def all_across(self, node: fx.Node, axes: frozenset[int], why: str) -> list[Plane]:
        """Those planes of a node that pass an operator which mixes what lies along `axes`."""
        passed = [self.across(plane, axes, why) for plane in self.planes(node)]
        return [plane for plane in passed if plane is not None]

    def soft(self, node: fx.Node, axis: int | str, count: int) -> Tensor:
        """Labels of entries that a literal of this node makes, (count,)."""
        return self.book.labels((node.name, axis), count, soft=True)

    def unknown(self, node: fx.Node) -> Result:
        """What nothing is known about freezes whatever it touches."""
        for given in node.all_input_nodes:
            self.freeze(given, f"nothing is known about the operator {spelled(node) or node.target}")
        return []

    def _call(self, node: fx.Node) -> None:
        value = self.values.of.get(node)
        if not isinstance(value, Tensor | tuple):
            return
        if node.name in self._closed:
            for given in node.all_input_nodes:
                self.freeze(given, f"the sizes written into {spelled(node)} cannot follow")
        result: Any = self._rules.get(spelled(node), Tracer.unknown)(self, node)
        if isinstance(value, Tensor):
            self._planes[node] = self.book.settle(result)
        else:
            self._items[node] = tuple(self.book.settle(planes) for planes in result) or ((),) * len(value)

    def _own(self, node: fx.Node) -> Planes:
        """A parameter or buffer of n axes has n planes; indices and masks have none."""
        tensor = self._tensors[str(node.target)]
        if not tensor.is_floating_point():
            return ()
        shape = tuple(tensor.shape)
        planes = (
            along_axis(self.book.labels((id(tensor), axis), size), axis, shape)
            for axis, size in enumerate(shape)
            if size > 1
        )
        return self.book.settle(planes)


def letters(count: int) -> list[str]:
    """Names for so many axes, the last axis always under the same one."""
    return [f"axis{index - count}" for index in range(count)]
