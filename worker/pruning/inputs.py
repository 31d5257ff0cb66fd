"""The norms of what each weight is multiplied by, seen while a graph runs on examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from worker.program.catalogue import MOVEMENT
from worker.program.layers import WEIGHT_ARGUMENTS
from worker.program.operators import name
from worker.program.program import Program

RECEIVES = {
    operator: places
    for operator, places in WEIGHT_ARGUMENTS.items()
    if not operator.startswith(("lstm", "gru", "rnn", "embedding_bag"))
}
"""The operators that are linear in their weight, and where they take it."""

CASTS = frozenset(("to", "_to_copy", "type_as"))
ARGUMENTS = {"embedding": 2}
"""How many arguments of an operator say what it computes; the others say how its gradients are to be taken."""
FACTORS = frozenset(("alpha", "beta"))


class Inputs(fx.Interpreter):
    """Runs a program as it is, and sums for each weight the squares of all that it is multiplied by.

    An operator that is linear in its weight multiplies each entry w by some numbers x and adds up the products. With
    their squares in place of the numbers, the gradient of the sum of its outputs by w is the sum of all x**2: over
    examples, tokens and positions of a linear layer; over the patches that a kernel position meets in a convolution,
    with its stride, dilation, groups and padding (whose zeros add nothing); over the times that an index is looked up
    in an embedding, whose input is a vector of one 1. Where a weight is used several times the sums add up. Views,
    transpositions and casts between the parameter and the operator are gone through.
    """

    def __init__(self, program: Program, names: Iterable[str]) -> None:
        """`names` are those of the weights that are watched."""
        super().__init__(program.module)
        wanted = set(names)
        first = {id(parameter): name for name, parameter in program.named_parameters()}
        every = dict(program.module.named_parameters(remove_duplicate=False))
        self._parameters: Mapping[str, str] = {
            alias: first[id(parameter)] for alias, parameter in every.items() if first[id(parameter)] in wanted
        }
        self._squares: dict[str, Tensor] = {}
        self._met: dict[str, Tensor] = {}
        self._leaves: dict[str, Tensor] = {}
        self._weights: dict[fx.Node, tuple[str, Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """What the program returns, without gradients; a pass that fails counts for nothing."""
        try:
            with torch.no_grad():
                result = self.run(*inputs)
            for parameter, squares in self._met.items():
                _add(self._squares, parameter, squares)
            return result
        finally:
            self._leaves, self._weights, self._met = {}, {}, {}  # they are as large as the weights

    def norms(self) -> dict[str, Tensor]:
        """By the name of each weight that was met, float32 and in its shape, the norm of what each entry multiplied."""
        return {name: squares.sqrt().to(torch.float32) for name, squares in self._squares.items()}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node, and looks at what its weights receive."""
        operator, source = name(n.target), n.args[0] if n.args else None
        result = super().run_node(n)
        if n.op == "get_attr" and str(n.target) in self._parameters:
            parameter = self._parameters[str(n.target)]
            leaf = self._leaves.setdefault(parameter, result.detach().to(torch.float32).requires_grad_())
            self._weights[n] = parameter, leaf
        elif operator in CASTS and isinstance(source, fx.Node) and source in self._weights:
            self._weights[n] = self._weights[source]
        elif operator in MOVEMENT and isinstance(source, fx.Node) and source in self._weights:
            parameter, weight = self._weights[source]
            self._weights[n] = parameter, self._moved(n, weight)
        for place, given in _places(n, RECEIVES.get(operator, ())):
            if given in self._weights:
                self._look(n, place, *self._weights[given])
        return result

    @torch.enable_grad()
    def _moved(self, n: fx.Node, weight: Tensor) -> Any:
        (_, *args), kwargs = self.fetch_args_kwargs_from_env(n)
        return n.target(weight, *args, **kwargs)  # type: ignore[operator]

    @torch.enable_grad()
    def _look(self, n: fx.Node, place: tuple[int, ...], parameter: str, weight: Tensor) -> None:
        """Adds the squares that one operand of a node receives."""
        operator = name(n.target)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        args = _placed(_squared(args[: ARGUMENTS.get(operator, len(args))]), place, weight)
        kwargs = {key: _squared(value) for key, value in kwargs.items() if key not in FACTORS}
        output = n.target(*args, **kwargs)  # type: ignore[operator]
        (squares,) = torch.autograd.grad(output.sum(), [self._leaves[parameter]], retain_graph=True)
        _add(self._met, parameter, squares)


def _add(sums: dict[str, Tensor], parameter: str, squares: Tensor) -> None:
    known = sums.get(parameter)
    sums[parameter] = squares if known is None else known.add_(squares)


def _places(n: fx.Node, indices: Iterable[int]) -> Iterator[tuple[tuple[int, ...], fx.Node]]:
    """Where among its arguments a node takes a node for a weight: an index, or one into a list."""
    for index in indices:
        given: Any = n.args[index] if index < len(n.args) else None
        if isinstance(given, fx.Node):
            yield (index,), given
        elif isinstance(given, list | tuple):
            yield from (((index, at), item) for at, item in enumerate(given) if isinstance(item, fx.Node))


def _squared(value: Any) -> Any:
    """The same with float32 squares for all floating-point tensors."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.float32).square()
    return type(value)(map(_squared, value)) if isinstance(value, list | tuple) else value


def _placed(args: Any, index: tuple[int, ...], weight: Tensor) -> Any:
    """The arguments with the weight in its place."""
    at, *deeper = index
    changed = list(args)
    changed[at] = _placed(changed[at], tuple(deeper), weight) if deeper else weight
    return type(args)(changed)
