"""The original program run so that removed units are silent: what a smaller program has to equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, fx
from torch._ops import OpOverload

from worker.program.operators import name
from worker.program.program import Program
from worker.pruning.cut import Axes, Cut, present
from worker.pruning.survivors import crossed, statistic


class Reference(fx.Interpreter):
    """Runs a full-size graph and sets the entries of removed units to 0 after every node.

    Entries are replaced, not multiplied: 0 times the NaN of 0 / 0 would be NaN. What shares memory with its operand is
    left alone, since it moves zeros that are there already, and a copy would lose what is later written through it.
    What an operator wrote into its operand is replaced there. Where a statistic runs along a removed axis it is taken
    over the survivors.
    """

    def __init__(self, program: Program, cut: Cut) -> None:
        """`program` is `cut.lab.program`, or a copy of it in another precision."""
        super().__init__(program.module)
        self.plain: set[str] = set()
        """The nodes whose removed entries were replaced, and nothing else."""
        self.restricted: dict[str, None] = {}
        """The nodes whose statistics were taken over survivors, in order."""
        self._cut = cut
        self._named = program.outputs()
        self._outputs: dict[str, Tensor] = {}
        ours, theirs = program.module.graph.nodes, cut.lab.program.module.graph.nodes
        self._labelled: Mapping[fx.Node, fx.Node] = dict(zip(ours, theirs, strict=True))

    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The output tensors under the names that `Program.run` gives them."""
        self.run(*inputs)
        return self._outputs

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node, and silences what is removed of its result."""
        if n.op == "output":
            self._outputs = {name: self.env[given] for name, given in self._named.items()}
        restricted = self._restricted(n)
        result = super().run_node(n) if restricted is None else restricted
        if restricted is not None:
            self.restricted[n.name] = None
        axes = self._cut.items(self._labelled[n])
        if all(kept is None for item in axes for kept in item):
            return result
        if restricted is None:
            self.plain.add(n.name)
        if isinstance(result, Tensor):
            return self._silenced(n, result, axes[0])
        return type(result)(self._silenced(n, item, kept) for item, kept in zip(result, axes, strict=True))

    def _restricted(self, n: fx.Node) -> Any:
        """The result with statistics over survivors; None where no statistic runs along a removed axis."""
        operand = n.args[0] if n.args else None
        if not isinstance(n.target, OpOverload) or not isinstance(operand, fx.Node):
            return None
        value = self.env[operand]
        if not isinstance(value, Tensor):
            return None
        kept = tuple(self._cut.stretched(stays, value.shape[axis]) for axis, stays in enumerate(self._kept(operand)))
        given = _given(n.target, *self.fetch_args_kwargs_from_env(n))
        axes = crossed(name(n.target), given, kept)
        return statistic(name(n.target), n.target, given, kept, axes) if axes else None

    def _kept(self, n: fx.Node) -> Axes:
        return self._cut.kept(self._labelled[n])

    def _silenced(self, n: fx.Node, result: Tensor, axes: Axes) -> Tensor:
        """The result with zeros for what is removed."""
        cut = [axis for axis, kept in enumerate(axes) if kept is not None]
        if not cut:
            return result
        gone = ~present(tuple(self._cut.stretched(kept, size) for kept, size in zip(axes, result.shape, strict=True)))
        if isinstance(n.target, OpOverload) and n.target._schema.is_mutable:
            return result.masked_fill_(gone, 0)
        repeated = any(result.stride(axis) == 0 for axis in cut)
        return result if not repeated and self._is_view(n, result) else result.masked_fill(gone, 0)

    def _is_view(self, n: fx.Node, result: Tensor) -> bool:
        """Whether a result lies in the memory of an operand; schemas do not tell (`reshape`, `dropout`)."""
        memory = result.untyped_storage().data_ptr()
        operands = (tensor for given in n.all_input_nodes for tensor in _tensors(self.env.get(given)))
        return any(tensor.untyped_storage().data_ptr() == memory for tensor in operands)


def _given(target: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, with the operator's defaults."""
    known = target._schema.arguments
    defaults = {argument.name: argument.default_value for argument in known}
    names = [argument.name for argument in known]
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
