"""Training that leaves pruned weights at exactly zero, at the cost of the dense step.

Nothing is re-parametrised. The pruned entries of the weights and of the optimizer's state are set to zero once, and
their gradients each time they have been computed. That is enough: with weight, state and gradient all zero, the step
of SGD (momentum, Nesterov, weight decay) and of AdamW adds exactly zero, so masking the weights again after the step
would be a second pass that changes nothing. And it is what `weight_orig * weight_mask` computes: the chain rule masks
the gradient of `weight_orig` by the same mask, so that all surviving weights take the same path, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from worker.pruning.keys import INTEGERS
from worker.pruning.masks import Masks, apply, bits, clear


class Masked:
    """While this is entered, the masked weights train without their pruned entries.

    Each gradient is masked as soon as `backward` has accumulated it, when it is still in cache and before anything
    reads it (clipping by norm, say). The masks are kept as integers as wide as the weights, so that masking is a single
    bitwise and, which also stops NaN and infinity: one more copy of the weights in memory, next to the gradients'.

        with Masked(weights, masks, optimizer):
            ...  # backward and step as always
    """

    def __init__(
        self, weights: Mapping[str, Tensor], masks: Masks, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """`weights` are the leaves that are trained; those without a mask are left alone.

        An `optimizer` that has made steps before is cleared of what it remembers of pruned entries.
        """
        self._weights = weights
        self._masks = masks
        self._optimizer = optimizer
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Masked:
        apply(self._weights, self._masks)
        for name, mask in self._masks.items():
            weight = self._weights[name]
            if self._optimizer is not None:
                _forget(self._optimizer, weight, mask)
            if weight.requires_grad:
                self._hooks.append(_mask_gradient(weight, mask))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()


def _mask_gradient(weight: Tensor, mask: Tensor) -> RemovableHandle:
    integer = INTEGERS[weight.dtype]
    # In the memory layout of the weight, which is that of its gradient: channels_last, for one.
    kept = torch.empty_like(weight, dtype=integer, requires_grad=False).copy_(bits(mask, weight.dtype))

    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.view(integer).bitwise_and_(kept)

    return weight.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call, no-any-return]


def _forget(optimizer: torch.optim.Optimizer, weight: Tensor, mask: Tensor) -> None:
    for value in optimizer.state.get(weight, {}).values():
        if isinstance(value, Tensor) and value.shape == mask.shape and value.is_floating_point():
            clear(value, mask)
