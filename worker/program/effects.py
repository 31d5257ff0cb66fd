"""What a program changes while it runs: counters are left out, inputs are copied first, the rest is refused."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from secateur.errors import UnsupportedStructure
from worker.program.catalogue import TRAINING_FLAG, VIEWS
from worker.program.operators import name
from worker.program.remedies import EXPORT

INPLACE_DROPOUT = {called for called in TRAINING_FLAG if called.endswith("_")}


def confine(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> None:
    """Makes a graph that changes neither its inputs nor its state, but for the statistics of normalization layers.

    Raises UnsupportedStructure where the program keeps a state of its own from call to call.
    """
    for node in list(graph.nodes):
        root = _changed(node, tensors)
        if root is None:
            continue
        if root.op == "placeholder":
            _copy_first(graph, root)
        elif isinstance(root.target, str) and not tensors[root.target].is_floating_point() and not node.users:
            graph.erase_node(node)
        else:
            raise UnsupportedStructure(
                f"The program changes its tensor {str(root.target)!r} each time it runs (aten.{name(node.target)}).",
                remedy=EXPORT,
            )
    graph.eliminate_dead_code(is_impure_node=keeps)


def keeps(node: fx.Node) -> bool:
    """Whether a node matters even where nobody uses its value."""
    return node.op in ("placeholder", "output") or _writes(node)


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _changed(node: fx.Node, tensors: Mapping[str, Tensor]) -> fx.Node | None:
    """The input or tensor of the state that a node writes to, through views; a cast to another dtype is a copy."""
    if not _writes(node) or name(node.target) in TRAINING_FLAG.keys() - INPLACE_DROPOUT:
        return None
    root = node.args[0] if node.args else None
    casts: set[torch.dtype] = set()
    while isinstance(root, fx.Node) and root.op == "call_function":
        called = name(root.target)
        if called not in VIEWS and not called.endswith("_") and root.target is not operator.getitem:
            return None
        casts |= {given for given in (*root.args, *root.kwargs.values()) if isinstance(given, torch.dtype)}
        root = root.args[0]
    if not isinstance(root, fx.Node) or root.op not in ("placeholder", "get_attr"):
        return None
    copied = root.op == "get_attr" and casts - {tensors[str(root.target)].dtype}
    return None if copied else root


def _copy_first(graph: fx.Graph, root: fx.Node) -> None:
    last = graph.find_nodes(op="placeholder")[-1]
    with graph.inserting_after(last):
        clone = graph.call_function(torch.ops.aten.clone.default, (root,))
    root.replace_all_uses_with(clone, delete_user_cb=lambda user: user is not clone)
