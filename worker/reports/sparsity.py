"""How many zeros there are, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from secateur.report import LayerSparsity, Sparsity


def measure_sparsity(weights: Mapping[str, torch.Tensor], chosen: Iterable[str]) -> Sparsity:
    """The zeros of the `chosen` layers among `weights`, counted in the tensors themselves."""
    layers = tuple(_layer(name, weights[name]) for name in chosen)
    zeros, total = sum(layer.zeros for layer in layers), sum(layer.total for layer in layers)
    return Sparsity(overall=zeros / total if total else 0.0, zeros=zeros, total=total, layers=layers)


def _layer(name: str, weight: torch.Tensor) -> LayerSparsity:
    zeros = weight.numel() - int(torch.count_nonzero(weight))
    return LayerSparsity(name=name, shape=tuple(weight.shape), zeros=zeros, total=weight.numel())
