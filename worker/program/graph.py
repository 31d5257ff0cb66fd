"""From the graph of the file to a graph of our own: every node is made here, and no text of the file names one."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from secateur.errors import CorruptArchive, UnsupportedOperator, UnsupportedStructure
from worker.program import numbers, operators, schema
from worker.program.arguments import check_enum, value_of
from worker.program.catalogue import ASSERTIONS
from worker.program.remedies import EXPORT, FLAT
from worker.program.signature import Signature
from worker.program.structure import read_structure
from worker.program.tensors import State

NODES_MAX = 200_000
NESTING_MAX = 8
OUTPUTS_MAX = 256
GRAD_MODE = "torch.ops.higher_order.wrap_with_set_grad_enabled"
AUTOCAST = "torch.ops.higher_order.wrap_with_autocast"
REGION_POSITION = {GRAD_MODE: 1, AUTOCAST: 4}
"""Calls that run a region of the program under another mode, and which argument is the region."""


def build_graph(program: schema.ExportedProgram, signature: Signature, state: State) -> fx.Graph:
    """The graph of a program: placeholders, one node for each tensor of the state, the calls, the nested output.

    Raises UnsupportedOperator, RandomOperator, UnsupportedStructure, UnsafeArchive, or CorruptArchive where names do
    not fit each other.
    """
    source = program.graph_module.graph
    nodes = list(_all_nodes(source, 0))
    if len(nodes) > NODES_MAX:
        raise UnsupportedStructure(f"The program has {len(nodes)} calls; at most {NODES_MAX} are allowed.")
    operators.check_deterministic(node.target for node in nodes)
    graph = fx.Graph()
    scope = Scope(graph)
    for name, given in zip(signature.names, signature.inputs, strict=True):
        scope.define(name, graph.placeholder(given.name))
    for spec in program.graph_module.signature.input_specs:
        _define_state(scope, spec, state)
    scope.run(source.nodes)
    graph.output(_outputs(program, scope))
    return graph


def _all_nodes(graph: schema.Graph, depth: int) -> Iterator[schema.Node]:
    if depth > NESTING_MAX:
        raise UnsupportedStructure(f"The program nests graphs more than {NESTING_MAX} deep.")
    for node in graph.nodes:
        yield node
        for given in node.inputs:
            if given.arg.as_graph is not None:
                yield from _all_nodes(given.arg.as_graph.graph, depth + 1)


def _define_state(scope: Scope, spec: schema.InputSpec, state: State) -> None:
    if spec.user_input is not None or spec.constant_input is not None:
        return
    if spec.parameter is not None:
        alias, name = spec.parameter.arg.name, spec.parameter.parameter_name
    elif spec.buffer is not None:
        alias, name = spec.buffer.arg.name, spec.buffer.buffer_name
        state.transient |= set() if spec.buffer.persistent else {name}
    elif spec.tensor_constant is not None:
        alias, name = spec.tensor_constant.arg.name, spec.tensor_constant.tensor_constant_name
        state.transient.add(name)
    else:
        raise UnsupportedStructure(f"The program takes a {spec.kind}, which is not handled.", remedy=FLAT)
    if name not in state.tensors:
        raise CorruptArchive(f"The archive lacks the tensor {name[:100]!r}.")
    scope.define(alias, scope.graph.get_attr(name))


def _outputs(program: schema.ExportedProgram, scope: Scope) -> Any:
    specs = program.graph_module.signature.output_specs
    call = program.graph_module.module_call_graph[0].signature
    if call is None:
        raise CorruptArchive("The program does not say what it returns.")
    changes = next((spec.kind for spec in specs if spec.user_output is None), None)
    if changes is not None:
        raise UnsupportedStructure(
            f"The program has an output of the kind {changes}: it was decomposed in training mode.", remedy=EXPORT
        )
    if len(specs) > OUTPUTS_MAX:
        raise UnsupportedStructure(
            f"The program has {len(specs)} outputs; at most {OUTPUTS_MAX} are allowed.", remedy=FLAT
        )
    leaves = [value_of(spec.user_output.arg, scope.lookup) for spec in specs if spec.user_output is not None]
    structure = read_structure(call.out_spec, "The program's output")
    if structure.leaves() != len(leaves):
        raise CorruptArchive("The program's outputs do not fit its signature.")
    if not any(isinstance(leaf, fx.Node) for leaf in leaves):
        raise UnsupportedStructure("The program returns no tensor.", remedy=FLAT)
    return structure.fill(iter(leaves))


class Scope:
    """The names that are known while a graph is built; a subgraph has a scope of its own."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph
        self._values: dict[str, Any] = {}

    def define(self, name: str, value: Any) -> None:
        """Gives a value a name; raises CorruptArchive for one that is taken."""
        if name in self._values:
            raise CorruptArchive(f"The graph defines {name[:100]!r} twice.")
        self._values[name] = value

    def lookup(self, name: str) -> Any:
        """The value of a name; raises CorruptArchive where it is not defined yet."""
        if name not in self._values:
            raise CorruptArchive(f"The graph uses {name[:100]!r} before it is defined.")
        return self._values[name]

    def run(self, nodes: Sequence[schema.Node]) -> None:
        """Adds the calls to the graph, in order."""
        for node in nodes:
            if node.target in REGION_POSITION:
                self._inline(node)
            else:
                self._call(node)

    def _call(self, node: schema.Node) -> None:
        target = operators.resolve(node.target)
        if operators.name(target) in ASSERTIONS:
            return
        values = [(given.name, value_of(given.arg, self.lookup)) for given in node.inputs]
        operators.check_memory(target, [value for _, value in values])
        if isinstance(target, OpOverload):
            args, kwargs = _bind(target, values)
        else:
            args, kwargs = tuple(value for _, value in values), {}
        result = self.graph.call_function(target, args, kwargs)
        numbers.check(result)
        self._define_results(node, target, result)

    def _define_results(self, node: schema.Node, target: operators.Target, result: fx.Node) -> None:
        """Names the results as the file does; those of an operator that gives several are its items."""
        several = isinstance(target, OpOverload) and len(target._schema.returns) > 1
        if len(node.outputs) == 1 and node.outputs[0].as_tensors is not None:
            names: list[str | None] = [tensor.name for tensor in node.outputs[0].as_tensors]
            several = True
        else:
            names = [_result_name(output) for output in node.outputs]
        if not several and len(names) > 1:
            raise CorruptArchive(f"The operator {node.target[:100]!r} does not give {len(names)} values.")
        for index, name in enumerate(names):
            if name is not None:
                item = self.graph.call_function(operator.getitem, (result, index)) if several else result
                self.define(name, item)

    def _inline(self, node: schema.Node) -> None:
        """Runs a region with a mode of its own in place; what leaves one without gradients is detached."""
        position = REGION_POSITION[node.target]
        subgraph = node.inputs[position].arg.as_graph if len(node.inputs) > position else None
        if subgraph is None:
            raise CorruptArchive("A region with a mode of its own lacks its graph.")
        region, keeps_gradients = subgraph.graph, _keeps_gradients(node)
        given = [value_of(argument.arg, self.lookup) for argument in node.inputs[position + 1 :]]
        inner = Scope(self.graph)
        names = [_result_name(argument) for argument in region.inputs]
        results = [name for output in node.outputs for name in _result_names(output)]
        if len(names) != len(given) or len(results) != len(region.outputs):
            raise CorruptArchive("A region with a mode of its own is called with the wrong number of values.")
        for name, value in zip(names, given, strict=True):
            if name is not None:
                inner.define(name, value)
        inner.run(region.nodes)
        for result, output in zip(results, region.outputs, strict=True):
            value = value_of(output, inner.lookup)
            if not keeps_gradients and output.as_tensor is not None:
                value = self.graph.call_function(torch.ops.aten.detach.default, (value,))
            self.define(result, value)


def _keeps_gradients(node: schema.Node) -> bool:
    """Whether a region computes gradients; raises for a mode that changes what is computed."""
    flag = node.inputs[0 if node.target == GRAD_MODE else 2].arg.as_bool
    if flag is None:
        raise CorruptArchive("A region with a mode of its own lacks its mode.")
    if node.target == GRAD_MODE:
        return flag
    if flag:
        raise UnsupportedStructure(
            "A part of the program runs under autocast, in a precision that depends on the machine. Export it without.",
            remedy=EXPORT,
        )
    return True


def _result_name(output: schema.Argument) -> str | None:
    """The name of a tensor or number that an operator gives, None for what it does not give."""
    number = output.as_sym_int or output.as_sym_float or output.as_sym_bool
    if output.as_tensor is not None:
        return output.as_tensor.name
    if number is not None:
        return number.as_name
    if output.kind in ("as_none", "as_int", "as_float", "as_bool"):
        return None
    raise UnsupportedStructure(f"An operator gives a value of the kind {output.kind}, which is not handled.")


def _result_names(output: schema.Argument) -> list[str]:
    if output.as_tensors is not None:
        return [tensor.name for tensor in output.as_tensors]
    name = _result_name(output)
    return [] if name is None else [name]


def _bind(target: OpOverload, values: list[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by the operator's own schema: positional without gaps, then by keyword."""
    given = dict(values)
    known = {argument.name: argument for argument in target._schema.arguments}
    if len(given) != len(values) or not given.keys() <= known.keys():
        raise UnsupportedOperator(f"The program calls {target} with arguments that it does not have in this PyTorch.")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for index, (name, argument) in enumerate(known.items()):
        if name not in given:
            continue
        check_enum(argument, given[name])
        if not argument.kwarg_only and len(args) == index:
            args.append(given[name])
        else:
            kwargs[name] = given[name]
    return tuple(args), kwargs
