"""Mixed precision: half-precision parameters trained through float32 copies (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

HALF = (torch.float16, torch.bfloat16)


class Masters:
    """The tensors that the optimizer works on: a float32 master for each half-precision parameter, others themselves.

    An update of less than 2**-8 of a bfloat16 weight would be rounded away; in the master it adds up. Parameters that
    are not floating point are left out.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self._halves = {name: tensor for name, tensor in parameters.items() if tensor.dtype in HALF}
        self.weights: dict[str, torch.Tensor] = {
            name: tensor.detach().float() if name in self._halves else tensor
            for name, tensor in parameters.items()
            if tensor.is_floating_point()
        }

    @property
    def copies(self) -> dict[str, torch.Tensor]:
        """The masters alone, by the names of their parameters."""
        return {name: self.weights[name] for name in self._halves}

    def take_gradients(self) -> None:
        """Moves the gradients of half-precision parameters to their masters, on top of those that are there."""
        for name, half in self._halves.items():
            if half.grad is not None:
                master, gradient = self.weights[name], half.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            half.grad = None

    @torch.no_grad()
    def give_back(self) -> None:
        """Rounds the masters into the half-precision parameters."""
        for name, half in self._halves.items():
            half.copy_(self.weights[name])

    def clear_gradients(self) -> None:
        """Forgets all gradients."""
        for tensor in (*self.weights.values(), *self._halves.values()):
            tensor.grad = None
