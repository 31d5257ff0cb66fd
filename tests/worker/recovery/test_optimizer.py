"""The optimizers take torch's steps, whatever the layout of the weights, and leave pruned weights alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from secateur.spec.recover import FineTune
from secateur.spec.training import AdamW, Sgd
from worker.recovery.optimizer import optimizer_for

LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": lambda weight: weight.to(memory_format=torch.channels_last),
    "transposed": lambda weight: weight.transpose(0, 1),
    "strided": lambda weight: weight[:, ::2],
}
SPECS = {"sgd": Sgd(), "adamw": AdamW(weight_decay=0.1)}


def reference(kind: str, weight: torch.Tensor) -> torch.optim.Optimizer:
    """torch's own loop over contiguous tensors."""
    if kind == "adamw":
        return torch.optim.AdamW([weight], 0.01, weight_decay=0.1, foreach=False)
    sgd = SPECS["sgd"]
    assert isinstance(sgd, Sgd)
    return torch.optim.SGD([weight], 0.01, sgd.momentum, 0, sgd.weight_decay, sgd.nesterov, foreach=False)


@pytest.mark.parametrize("kind", list(SPECS))
@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_torchs_in_every_layout(kind: str, layout: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = LAYOUTS[layout](torch.randn(6, 6, 3, 3, dtype=dtype)).requires_grad_()
    theirs = ours.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    factor = torch.randn(ours.shape, dtype=dtype)
    spec = FineTune(learning_rate=0.01, optimizer=SPECS[kind])
    optimizers = optimizer_for(spec, [ours]), reference(kind, theirs)
    for _ in range(5):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (weight * factor).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.detach(), theirs.detach())


def test_adamw_needs_no_square_root_of_its_own_on_the_cpu() -> None:
    spec = FineTune(learning_rate=0.01, optimizer=AdamW())
    for layout, fused in (("contiguous", True), ("transposed", None)):
        weight = LAYOUTS[layout](torch.randn(4, 4, 3, 3)).requires_grad_()
        assert optimizer_for(spec, iter([weight, torch.zeros(0, requires_grad=True)])).defaults["fused"] is fused
