"""What every node of a graph gives at a probe batch: shapes, and numbers where no input is needed."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.errors import ProgramFails
from worker.program.operators import name
from worker.program.program import BATCH, Program, named_tensors
from worker.program.reason import reason
from worker.pruning.labels.spelling import evaluated

PROBE = 3
"""A prime, and not 2: where a literal is a multiple of the batch, it should not be one by chance."""


class Values:
    """The values of one run, for example sizes and a batch of PROBE.

    Tensors are on the meta device: they have a shape and cost nothing. Where a tensor needs no input of the user and
    no parameter (indices, masks, tables), its numbers are known too.
    """

    def __init__(self, program: Program, sizes: Mapping[str, int] | None = None) -> None:
        """`sizes` are those of the probe where left out.

        Raises ProgramFails, naming the node, where a node cannot be run on the meta device.
        """
        self.batch = _probe(program)
        self.of: dict[fx.Node, Any] = {}
        self.real: dict[fx.Node, Any] = {}
        self.constant: dict[fx.Node, bool] = {}
        given = iter(program.example(sizes or self.batch))
        tensors = dict(named_tensors(program.module))
        with torch.no_grad():
            for node in program.module.graph.nodes:
                if node.op == "placeholder":
                    self._note(node, next(given), constant=False)
                elif node.op == "get_attr":
                    tensor = tensors[str(node.target)]
                    self._state(node, tensor)
                elif node.op == "call_function":
                    self._call(node)

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a tensor, or of the first of several."""
        value = self.of[node]
        return tuple((value if isinstance(value, Tensor) else value[0]).shape)

    def take_over(self, node: fx.Node, other: fx.Node) -> None:
        """A new node gives what another one gives."""
        self.of[node], self.constant[node] = self.of[other], self.constant[other]

    def _note(self, node: fx.Node, value: Any, *, constant: bool, real: bool = False) -> None:
        self.of[node] = _meta(value)
        self.constant[node] = constant
        if real:
            self.real[node] = value

    def _state(self, node: fx.Node, tensor: Tensor) -> None:
        """A copy, since nodes that work in place write to what they are given."""
        real = not isinstance(tensor, nn.Parameter)
        self._note(node, tensor.detach().clone() if real else tensor, constant=True, real=real)

    def _call(self, node: fx.Node) -> None:
        tensors = [given for given in node.all_input_nodes if isinstance(self.of[given], Tensor | tuple)]
        constant = all(self.constant[given] for given in tensors) and name(node.target) != "sym_size"
        if not tensors and not _gives_tensors(node):
            self._note(node, _run(node, self.of), constant=constant)
        elif constant and all(given in self.real for given in tensors):
            self._note(node, _run(node, ChainMap(self.real, self.of)), constant=True, real=True)
        elif name(node.target) == "batch_norm":  # spares the decomposition, which takes a tenth of all time
            self._note(node, torch.empty_like(self.of[node.all_input_nodes[0]]), constant=constant)
        else:
            self._note(node, _run(node, self._masks(node), "meta"), constant=constant)

    def _masks(self, node: fx.Node) -> Mapping[fx.Node, Any]:
        """What a node is given on the meta device; boolean masks that index need their numbers there, too."""
        if name(node.target) != "index":
            return self.of
        masks = {given: self.real[given] for given in node.all_input_nodes if _is_mask(self.real.get(given))}
        return ChainMap(masks, self.of)


def _run(node: fx.Node, known: Mapping[fx.Node, Any], device: str = "cpu") -> Any:
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    fresh = {given: _alias(known[given]) for given in node.all_input_nodes}
    args, kwargs = _on(device, evaluated(node.args, fresh)), _on(device, evaluated(node.kwargs, fresh))
    try:
        return target(*args, **kwargs)
    except TimeoutError:
        raise  # an alarm that happens to go off here says nothing of the node
    except Exception as error:
        why = reason(error, 200)
        raise ProgramFails(f"The shapes behind {node.name} ({node.target}) cannot be told: {why}") from error


def _alias(value: Any) -> Any:
    """The same numbers in a tensor of its own, so that `squeeze_` leaves the shape that is known."""
    return value.detach() if isinstance(value, Tensor) else value


def _on(device: str, values: Any) -> Any:
    """Arguments with the device that a literal names replaced."""
    if isinstance(values, torch.device):
        return torch.device(device)
    if isinstance(values, dict):
        return {key: _on(device, value) for key, value in values.items()}
    return tuple(_on(device, value) for value in values) if type(values) is tuple else values


def _probe(program: Program) -> int:
    size = program.sizes[BATCH]
    most = PROBE if size.maximum is None else min(PROBE, size.maximum)
    return max(most, size.minimum)


def _gives_tensors(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any("Tensor" in str(value.type) for value in schema.returns)


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("meta")
    if isinstance(value, tuple | list):
        return tuple(_meta(item) for item in value)
    return value
