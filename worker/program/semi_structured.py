"""Linear layers on torch's semi-structured sparse kernels, which skip two zeros of every four weights."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from worker.program.layers import takes
from worker.program.operators import name
from worker.program.program import Program, attach

PROTOTYPE = "The PyTorch API of SparseSemiStructuredTensor"
"""How the warning begins that torch gives with the first tensor of this kind."""


def of_linear(program: Program, weight: str) -> bool:
    """Whether the parameter of this name is the weight of linear layers and nothing else."""
    nodes = program.module.graph.find_nodes(op="get_attr")
    users = [(node, user) for node in nodes if node.target == weight for user in node.users]
    return bool(users) and all(
        name(user.target) == "linear" and takes(user, "linear", node) and user.args[0] is not node
        for node, user in users
    )


def packed(weight: Tensor) -> Tensor:
    """A matrix (out, in) of 2:4 weights as torch's kernels take it. Raises RuntimeError where they do not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=PROTOTYPE)
        return torch.sparse.to_sparse_semi_structured(weight.detach().contiguous())


def put(program: Program, name: str, weight: Tensor) -> None:
    """Have the program run with another tensor in a parameter's place. Packed ones depend on the device: move none."""
    attach(program.module, name, nn.Parameter(weight, requires_grad=False))
