"""Optimizers by the name that the spec gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.optim import SGD, Optimizer
from torch.optim import AdamW as TorchAdamW

from secateur.spec.training import AdamW, Sgd, Training


def _sgd(weights: Iterable[torch.Tensor], rate: float, spec: Sgd) -> Optimizer:
    return SGD(weights, rate, momentum=spec.momentum, nesterov=spec.nesterov, weight_decay=spec.weight_decay)


def _adamw(weights: Iterable[torch.Tensor], rate: float, spec: AdamW) -> Optimizer:
    """In one pass where that is possible.

    Entry by entry torch takes the square root of the second moments with MKL, which needs twenty times as long for a
    zero: the step on pruned weights would take twice as long as on dense ones. The fused step has no such case. On the
    CPU it goes through memory in order, so that weights, moments and gradients must be contiguous.
    """
    listed = list(weights)
    fused = all(weight.device.type == "cpu" and weight.is_contiguous() for weight in listed)
    return TorchAdamW(listed, rate, betas=spec.betas, weight_decay=spec.weight_decay, fused=fused or None)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": _sgd, "adamw": _adamw}


def optimizer_for(spec: Training, weights: Iterable[torch.Tensor]) -> Optimizer:
    """The optimizer that `spec` asks for, over `weights`, at the learning rate of `spec`."""
    return OPTIMIZERS[spec.optimizer.kind](weights, spec.rate, spec.optimizer)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of all weights."""
    for group in optimizer.param_groups:
        group["lr"] = rate
