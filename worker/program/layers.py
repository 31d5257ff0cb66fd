"""Which parameters are weights that pruning may remove from: found by where they flow, not by the class of a layer."""

from __future__ import annotations

from torch import fx

from worker.program.catalogue import CASTS, MOVEMENT
from worker.program.operators import name
from worker.program.program import Program

# Where each operator takes its weight. Matrix products take it on either side, recurrent layers in a list.
WEIGHT_ARGUMENTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "convolution"), (1,)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (1,)),
    **dict.fromkeys(("embedding", "embedding_bag"), (0,)),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "tensordot"), (0, 1)),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm"), (1, 2)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), (2,)),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), (2, 3)),
    "bilinear": (2,),
    "einsum": (1,),
}
PASSES = CASTS | MOVEMENT


def prunable(program: Program) -> dict[str, str]:
    """Full names of the prunable parameters, in order, and the operator that uses each as its weight.

    Prunable is a floating-point parameter of two or more axes that reaches a linear layer, convolution, matrix product,
    recurrent layer or embedding as its weight, through views, transpositions and casts; never biases and norms.
    """
    names = {id(parameter): first for first, parameter in program.named_parameters()}
    aliases = dict(program.module.named_parameters(remove_duplicate=False))
    found: dict[str, str] = {}
    for node in program.module.graph.find_nodes(op="get_attr"):
        parameter = aliases.get(str(node.target))
        if parameter is None or parameter.dim() < 2 or not parameter.is_floating_point():
            continue
        operator = _used_by(node)
        if operator is not None:
            found.setdefault(names[id(parameter)], operator)
    return {first: found[first] for first, _ in program.named_parameters() if first in found}


def _used_by(weight: fx.Node) -> str | None:
    """The first operator that takes a value as its weight."""
    waiting, seen = [weight], {weight}
    while waiting:
        node = waiting.pop(0)
        for user in node.users:
            operator = name(user.target)
            if takes(user, operator, node):
                return operator
            if operator in PASSES and user.args[0] is node and user not in seen:
                seen.add(user)
                waiting.append(user)
    return None


def takes(user: fx.Node, operator: str, node: fx.Node) -> bool:
    """Whether `user`, of this operator, takes a value as its weight."""
    for index in WEIGHT_ARGUMENTS.get(operator, ()):
        given = user.args[index] if index < len(user.args) else None
        if given is node or (isinstance(given, list | tuple) and node in given):
            return True
    return False
