"""Gradients as everything after reading needs them: dense, so that masks and fine-tuning can work on them."""

from __future__ import annotations

from torch import fx
from torch._ops import OpOverload

SPARSE = frozenset(("sparse", "sparse_grad"))


def densify(module: fx.GraphModule) -> list[str]:
    """Has no operator give sparse gradients (`nn.Embedding(sparse=True)`); returns what was changed, in words.

    The values of the program and of its gradients stay the same; only their layout changes.
    """
    changed = sum(_made_dense(node) for node in module.graph.nodes)
    if not changed:
        return []
    module.recompile()
    return [f"The gradients of {changed} operators were sparse; they are dense now, with the same values."]


def _made_dense(node: fx.Node) -> bool:
    if not isinstance(node.target, OpOverload):
        return False
    for index, argument in enumerate(node.target._schema.arguments):
        if argument.name not in SPARSE:
            continue
        if index < len(node.args) and node.args[index]:
            node.update_arg(index, False)
            return True
        if node.kwargs.get(argument.name):
            node.update_kwarg(argument.name, False)
            return True
    return False
