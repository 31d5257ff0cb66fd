"""What a literal of a net must become when units go, and the nets' common parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worker.pruning.cutting import EXAMPLES, Net, Removed, cut_of, literals, program_of
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate

HEAD: Removed = {"q.weight:0": (4,), "v.weight:0": (5,)}
SOME: Removed = {"a.weight:0": (0, 3, 7)}
IMAGE = (3, 8, 8)
SEQUENCE = (7, 6)


@dataclass(frozen=True)
class Literal:
    """A net in which `called` has an argument that must become `becomes`, when `removed` goes."""

    called: str
    argument: str
    becomes: Any
    removed: Removed
    function: Callable[..., Any]
    parts: Callable[[], dict[str, Any]]
    shape: tuple[int, ...] = (5,)


def dense() -> dict[str, Any]:
    return {"a": nn.Linear(5, 12), "b": nn.Linear(12, 4)}


def halves() -> dict[str, Any]:
    return {"a": nn.Linear(5, 12), "b": nn.Linear(5, 4), "c": nn.Linear(7, 4)}


def convolved(*layers: nn.Module) -> Callable[[], dict[str, Any]]:
    return lambda: {"a": nn.Conv2d(3, 12, 3, padding=1), "m": nn.Sequential(*layers), "b": nn.Conv2d(12, 4, 1)}


def attentive() -> dict[str, Any]:
    return {title: nn.Linear(6, 12) for title in "qkv"} | {"b": nn.Linear(12, 4)}


def vector(**parts: Any) -> Callable[[], dict[str, Any]]:
    return lambda: dense() | {title: nn.Parameter(torch.randn(shape)) for title, shape in parts.items()}


def after(moved: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function between two linear layers."""
    return lambda net, x: net.b(moved(net, net.a(x)).relu())


def through(net: Net, x: Tensor) -> Tensor:
    return net.b(net.m(net.a(x)).relu())


def unflattened(net: Net, x: Tensor) -> Tensor:
    q, k, v = (layer(x).unflatten(-1, (3, 4)).transpose(1, 2) for layer in (net.q, net.k, net.v))
    return net.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def check(case: Literal) -> None:
    """The literal becomes what it must, and the program with it equals the reference."""
    torch.manual_seed(0)
    program = program_of(Net(case.function, **case.parts()), torch.randn(EXAMPLES, *case.shape))
    lab, cut = cut_of(program, case.removed)
    sliced = operate(lab, cut)
    assert literals(sliced, case.called, case.argument) == case.becomes
    proof = prove(program, lab, cut, sliced, dtype=torch.float64)
    assert proof.holds, proof
    assert proof.effect > 1e-3
