"""Inputs of our own that a program can run on."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from worker.program.catalogue import CASTS, MOVEMENT
from worker.program.operators import name

PASSES = CASTS | MOVEMENT


def example_input(node: fx.Node, dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A tensor for one placeholder: normal numbers, indices valid for the embedding that they reach, else ones."""
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    rows = _rows(node)
    if rows is None or dtype == torch.bool:
        return torch.ones(shape, dtype=dtype)
    return torch.randint(0, rows, shape, generator=generator).to(dtype)


def _rows(node: fx.Node) -> int | None:
    """The number of rows of the smallest embedding that a value reaches through casts and movement."""
    found: list[int] = []
    seen = {node}
    waiting = [node]
    while waiting:
        for user in waiting.pop().users:
            operator = name(user.target)
            if operator == "embedding" and isinstance(user.args[0], fx.Node) and user.args[1] in seen:
                found += _first_size(user.args[0])
            if user not in seen and operator in PASSES:
                seen.add(user)
                waiting.append(user)
    return min(found, default=None)


def _first_size(weight: fx.Node) -> list[int]:
    owner = weight.graph.owning_module
    if weight.op != "get_attr" or owner is None:
        return []
    module, _, leaf = str(weight.target).rpartition(".")
    return [getattr(owner.get_submodule(module), leaf).shape[0]]
