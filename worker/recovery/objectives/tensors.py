"""What objectives do with outputs and targets before they look at them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from secateur.errors import DataMismatch, EmptyDataset


def leaf(outputs: Any, position: int) -> torch.Tensor:
    """The tensor at a position of the flattened result of a program."""
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    return tensors[position]


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, all others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def require_labels(counted: float) -> None:
    """Raises EmptyDataset when no label counts."""
    if counted == 0:
        raise EmptyDataset("There is no label to score: all are -100.")


def mismatch(expected: str, output: torch.Tensor, target: torch.Tensor) -> DataMismatch:
    """An error that says what an objective expected and what it found."""
    found = f"{str(target.dtype).removeprefix('torch.')} {tuple(target.shape)}"
    return DataMismatch(f"Expected {expected}; found a target of {found} for an output of {tuple(output.shape)}.")
