"""The same program in another precision, to compare two programs more closely than the one they run in allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from worker.program.program import Program, assemble, named_tensors, transient_names

COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def in_precision(program: Program, dtype: torch.dtype) -> Program:
    """A copy on the CPU, in evaluation mode, that computes in `dtype`: float32 or float64.

    Parameters, buffers, inputs and the dtypes that literals of the graph name become `dtype` where they are floating,
    and complex numbers as wide. Run it under `default_precision`: `arange` or a division of integers has no literal.
    """
    ours = program.copy().to("cpu")
    ours.set_training(False)
    tensors: dict[int, Tensor] = {}
    for _, tensor in named_tensors(ours.module):
        tensors.setdefault(id(tensor), _converted(tensor, dtype))
    named = {name: tensors[id(tensor)] for name, tensor in named_tensors(ours.module)}
    for node in ours.module.graph.nodes:
        node.args, node.kwargs = _literals(node.args, dtype), _literals(node.kwargs, dtype)
    module = assemble(ours.module.graph, named, transient_names(ours.module))
    let_go(ours)
    ours.module = module
    ours.inputs = tuple(replace(given, dtype=converted(given.dtype, dtype)) for given in ours.inputs)
    return ours


def let_go(program: Program) -> None:
    """Frees the tensors of a program that nobody runs again; a graph and its module refer to each other, and stay."""
    for module in program.module.modules():
        module._parameters.clear()
        module._buffers.clear()


@contextmanager
def default_precision(dtype: torch.dtype) -> Iterator[None]:
    """Has new floating tensors be of `dtype`, where nothing else is said; afterwards it is as it was before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def converted(known: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """What `known` becomes in a program that computes in `dtype`; integers and booleans stay."""
    if known.is_complex:
        return COMPLEX[dtype]
    return dtype if known.is_floating_point else known


def _converted(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    wide = tensor.detach().to(converted(tensor.dtype, dtype))
    return nn.Parameter(wide, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else wide


def _literals(values: Any, dtype: torch.dtype) -> Any:
    if isinstance(values, torch.dtype):
        return converted(values, dtype)
    if isinstance(values, dict):
        return {key: _literals(value, dtype) for key, value in values.items()}
    if isinstance(values, tuple | list) and not isinstance(values, torch.Size):
        return type(values)(_literals(value, dtype) for value in values)
    return values
