"""Masked training: pruned weights stay exactly zero, and the rest train as with torch.nn.utils.prune."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from secateur.allocation import Pool
from worker.pruning.masked import Masked
from worker.pruning.select import select

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(8, 2, 6, 6, generator=generator), torch.randint(5, (8,), generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def pruned(net: nn.Sequential) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weights = {name: net.get_parameter(name) for name in ("0.weight", "4.weight")}
    return weights, select(weights, [Pool(tuple(weights), 0.8)])


def exactly_zero(tensor: Tensor, mask: Tensor) -> bool:
    return not tensor.detach()[~mask].view(torch.int32).any()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_pruned_weights_stay_exactly_zero_after_every_step(kind: str) -> None:
    net = network()
    optimizer = OPTIMIZERS[kind](net.parameters())
    for seed in range(3):
        step(net, optimizer, seed)
    weights, masks = pruned(net)
    with Masked(weights, masks, optimizer):
        for seed in range(10):
            step(net, optimizer, seed)
            for name, mask in masks.items():
                assert exactly_zero(weights[name], mask)
                assert weights[name][mask].count_nonzero() == mask.count_nonzero()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_without_the_guard_momentum_and_gradients_revive_weights(kind: str) -> None:
    net = network()
    optimizer = OPTIMIZERS[kind](net.parameters())
    weights, masks = pruned(net)
    with Masked(weights, masks, optimizer):
        step(net, optimizer, 0)
    step(net, optimizer, 1)
    assert not exactly_zero(weights["4.weight"], masks["4.weight"])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_survivors_take_the_path_of_the_reparametrised_network_bit_for_bit(kind: str) -> None:
    ours, theirs = network(), copy.deepcopy(network())
    weights, masks = pruned(ours)
    for name, mask in masks.items():
        prune.custom_from_mask(theirs.get_submodule(name.split(".")[0]), "weight", mask)
    optimizers = [OPTIMIZERS[kind](net.parameters()) for net in (ours, theirs)]
    with Masked(weights, masks, optimizers[0]):
        for seed in range(10):
            for net, optimizer in zip((ours, theirs), optimizers, strict=True):
                step(net, optimizer, seed)
    for index in (0, 4):
        prune.remove(theirs[index], "weight")
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_gradient_that_is_not_finite_does_not_revive_a_weight() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    with Masked({"w": weight}, {"w": torch.tensor([False, True, False])}):
        (weight * torch.tensor([float("nan"), 1.0, float("inf")])).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.0, 1.0, 0.0]


def test_gradients_in_another_memory_layout_are_masked_alike() -> None:
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    mask = torch.rand(4, 3, 2, 2) < 0.5
    with Masked({"w": weight}, {"w": mask}):
        weight.square().sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, 2 * weight.detach())
    assert torch.equal(weight.grad != 0, mask)
