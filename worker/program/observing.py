"""A program that also gives what it computes on the way."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import fx
from torch._ops import OpOverload

from secateur.errors import BadFeature
from worker.program.program import Program

NAMES_SHOWN = 8


def observed(program: Program, names: Sequence[str]) -> Program:
    """The same network on the same tensors, with a graph of its own: it returns (outputs, the values at these nodes).

    Each value is copied where it is computed, since some operators write into what they are given. Raises BadFeature.
    """
    seen = program.fork()
    graph = seen.module.graph
    values = [_copied(graph, node_named(graph, name)) for name in names]
    output = graph.output_node()
    output.args = ((output.args[0], tuple(values)),)
    seen.module.recompile()
    return seen


def node_named(graph: fx.Graph, name: str) -> fx.Node:
    """The node of this name, which computes one tensor. Raises BadFeature, with the names that are near."""
    nodes: dict[str, fx.Node] = {node.name: node for node in graph.nodes if _computes_tensor(node)}
    if name not in nodes:
        near = get_close_matches(name, nodes, NAMES_SHOWN, cutoff=0.4) or list(nodes)[:NAMES_SHOWN]
        raise BadFeature(
            f"The program has no node {name!r} that computes a tensor; near are {', '.join(map(repr, near))}.",
            remedy="A node is named after its operator and overload, from the second on with a count: relu_default_1.",
            near=near,
        )
    return nodes[name]


def _computes_tensor(node: fx.Node) -> bool:
    if isinstance(node.target, OpOverload):
        return [str(value.type) for value in node.target._schema.returns] == ["Tensor"]
    return node.target is operator.getitem


def _copied(graph: fx.Graph, node: fx.Node) -> fx.Node:
    with graph.inserting_after(node):
        return graph.call_function(torch.ops.aten.clone.default, (node,))
