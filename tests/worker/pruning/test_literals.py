"""Every literal that holds a size or a place of what is cut: what it becomes, and that the program is right with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worker.pruning.cutting import EXAMPLES, Net, Removed, cut_of, literals, program_of
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate

aten = torch.ops.aten


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


def _dense() -> dict[str, Any]:
    return {"a": nn.Linear(5, 12), "b": nn.Linear(12, 4)}


def _halves() -> dict[str, Any]:
    return {"a": nn.Linear(5, 12), "b": nn.Linear(5, 4), "c": nn.Linear(7, 4)}


def _convolved(*layers: nn.Module) -> Callable[[], dict[str, Any]]:
    return lambda: {"a": nn.Conv2d(3, 12, 3, padding=1), "m": nn.Sequential(*layers), "b": nn.Conv2d(12, 4, 1)}


def _attentive() -> dict[str, Any]:
    return {title: nn.Linear(6, 12) for title in "qkv"} | {"b": nn.Linear(12, 4)}


def _vector(**parts: Any) -> Callable[[], dict[str, Any]]:
    return lambda: _dense() | {title: nn.Parameter(torch.randn(shape)) for title, shape in parts.items()}


def _after(moved: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function between two linear layers."""
    return lambda net, x: net.b(moved(net, net.a(x)).relu())


def _through(net: Net, x: Tensor) -> Tensor:
    return net.b(net.m(net.a(x)).relu())


def _pieces(split: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """The function of two pieces that go different ways."""

    def function(net: Net, x: Tensor) -> Tensor:
        first, second = split(net.a(x))
        return net.b(first.tanh()) + net.c(second.relu())

    return function


def _folded(sizes: Callable[[int], tuple[int, ...]]) -> Callable[..., Tensor]:
    """Attention of three heads that are folded into the batch, as nn.MultiheadAttention does it."""

    def function(net: Net, x: Tensor) -> Tensor:
        batch, x = x.shape[0], x.transpose(0, 1)
        q, k, v = (layer(x).view(sizes(batch)).transpose(0, 1) for layer in (net.q, net.k, net.v))
        mixed = (q @ k.transpose(1, 2)).softmax(-1) @ v
        return net.b(mixed.transpose(0, 1).reshape(-1, 12)).view(7, batch, 4).transpose(0, 1)

    return function


def _single(net: Net, x: Tensor) -> Tensor:
    return net.b(F.scaled_dot_product_attention(net.q(x), net.k(x), net.v(x)))


def _unflattened(net: Net, x: Tensor) -> Tensor:
    q, k, v = (layer(x).unflatten(-1, (3, 4)).transpose(1, 2) for layer in (net.q, net.k, net.v))
    return net.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _padded(net: Net, x: Tensor) -> Tensor:
    return net.b((F.pad(net.a(x), (0, 0, 1, 1, 2, 3))[:, :, 1:-1] + net.c(x)).relu())


def _gathered(net: Net, x: Tensor) -> Tensor:
    return net.b(torch.index_select(net.a(x), 1, net.order).tanh())


def _normalized(net: Net, x: Tensor) -> Tensor:
    return net.b(aten.native_layer_norm.default(net.a(x), [12], net.w, net.v, 1e-5)[0])


def _grouped(net: Net, x: Tensor) -> Tensor:
    return net.b(aten.native_group_norm.default(net.a(x), None, None, x.shape[0], 12, 64, 6, 1e-5)[0])


def _convolution(net: Net, x: Tensor) -> Tensor:
    pairs = [1, 1]
    return net.b(aten.convolution.default(net.a(x), net.w, None, pairs, pairs, pairs, False, [0, 0], 12).relu())


HEAD: Removed = {"q.weight:0": (4,), "v.weight:0": (5,)}
SOME: Removed = {"a.weight:0": (0, 3, 7)}
IMAGE = (3, 8, 8)
SEQUENCE = (7, 6)
LITERALS = {
    "view": Literal("view", "size", [["n", 9]], SOME, _after(lambda net, x: x.view(x.shape[0], 12)), _dense),
    "view, first inferred": Literal("view", "size", [[-1, 9]], SOME, _after(lambda net, x: x.view(-1, 12)), _dense),
    "view, last inferred": Literal(
        "view", "size", [["n", -1]], SOME, _after(lambda net, x: x.view(x.shape[0], -1)), _dense
    ),
    "reshape": Literal("reshape", "shape", [["n", 9]], SOME, _after(lambda net, x: x.reshape(x.shape[0], 12)), _dense),
    "_unsafe_view": Literal(
        "_unsafe_view",
        "size",
        [["n", 9]],
        SOME,
        _after(lambda net, x: aten._unsafe_view.default(x, [x.shape[0], 12])),
        _dense,
    ),
    "view, heads in the batch": Literal(
        "view",
        "size",
        [[7, -1, 4]] * 3 + [[7, "n", 4]],
        HEAD,
        _folded(lambda batch: (7, batch * 3, 4)),
        _attentive,
        SEQUENCE,
    ),
    "view, heads in the batch and a size inferred": Literal(
        "view",
        "size",
        [[-1, "n", 4]] * 3 + [[7, "n", 4]],
        HEAD,
        _folded(lambda batch: (-1, batch * 3, 4)),
        _attentive,
        SEQUENCE,
    ),
    "unflatten": Literal("unflatten", "sizes", [[2, 4]] * 3, HEAD, _unflattened, _attentive, SEQUENCE),
    "expand": Literal(
        "expand", "size", [["n", 9]], SOME, _after(lambda net, x: x + net.w.expand(x.shape[0], 12)), _vector(w=(1,))
    ),
    "expand, sizes kept": Literal(
        "expand", "size", [["n", -1]], SOME, _after(lambda net, x: x + net.w.expand(x.shape[0], -1)), _vector(w=(12,))
    ),
    "repeat": Literal(
        "repeat", "repeats", [["n", 9]], SOME, _after(lambda net, x: x + net.w.repeat(x.shape[0], 12)), _vector(w=(1,))
    ),
    "repeat_interleave": Literal(
        "repeat_interleave",
        "output_size",
        [18],
        SOME,
        _after(lambda net, x: aten.repeat_interleave.self_int(x, 2, 1, output_size=24)),
        lambda: _dense() | {"b": nn.Linear(24, 4)},
    ),
    "zeros": Literal("zeros", "size", [["n", 9]], SOME, _after(lambda net, x: x * torch.zeros(x.shape).exp()), _dense),
    "ones": Literal("ones", "size", [["n", 9]], SOME, _after(lambda net, x: x + torch.ones(x.shape)), _dense),
    "full": Literal("full", "size", [["n", 9]], SOME, _after(lambda net, x: x + torch.full(x.shape, 0.5)), _dense),
    "new_zeros": Literal(
        "new_zeros", "size", [["n", 9]], SOME, _after(lambda net, x: x + x.new_zeros(x.shape).exp()), _dense
    ),
    "new_ones": Literal("new_ones", "size", [["n", 9]], SOME, _after(lambda net, x: x + x.new_ones(x.shape)), _dense),
    "slice": Literal(
        "slice", "start", [4], SOME, _after(lambda net, x: x[:, 6:11]), lambda: _dense() | {"b": nn.Linear(5, 4)}
    ),
    "slice, end": Literal(
        "slice", "end", [8], SOME, _after(lambda net, x: x[:, 6:11]), lambda: _dense() | {"b": nn.Linear(5, 4)}
    ),
    "slice from the end": Literal(
        "slice", "start", [5], SOME, _after(lambda net, x: x[:, -5:]), lambda: _dense() | {"b": nn.Linear(5, 4)}
    ),
    "narrow": Literal(
        "narrow",
        "length",
        [4],
        SOME,
        _after(lambda net, x: x.narrow(1, 2, 5)),
        lambda: _dense() | {"b": nn.Linear(5, 4)},
    ),
    "narrow, start": Literal(
        "narrow",
        "start",
        [1],
        SOME,
        _after(lambda net, x: x.narrow(1, 2, 5)),
        lambda: _dense() | {"b": nn.Linear(5, 4)},
    ),
    "select": Literal(
        "select", "index", [3], SOME, _after(lambda net, x: x * x[:, 5:6] + x.select(1, 5)[:, None]), _dense
    ),
    "chunk": Literal(
        "split_with_sizes",
        "split_sizes",
        [[4, 5]],
        SOME,
        _pieces(lambda x: x.chunk(2, 1)),
        lambda: _halves() | {"b": nn.Linear(6, 4), "c": nn.Linear(6, 4)},
    ),
    "split": Literal(
        "split_with_sizes",
        "split_sizes",
        [[5, 4]],
        SOME,
        _pieces(lambda x: x.split(7, dim=-1)),
        lambda: _halves() | {"b": nn.Linear(7, 4), "c": nn.Linear(5, 4)},
    ),
    "split in sizes": Literal(
        "split_with_sizes", "split_sizes", [[3, 6]], SOME, _pieces(lambda x: x.split([5, 7], 1)), _halves
    ),
    "tensor_split": Literal(
        "split_with_sizes", "split_sizes", [[3, 6]], SOME, _pieces(lambda x: x.tensor_split([5], 1)), _halves
    ),
    "unsafe_split": Literal(
        "split_with_sizes",
        "split_sizes",
        [[4, 5]],
        SOME,
        _pieces(lambda x: aten.unsafe_split.Tensor(x, 6, 1)),
        lambda: _halves() | {"b": nn.Linear(6, 4), "c": nn.Linear(6, 4)},
    ),
    "squeeze": Literal(
        "squeeze",
        "dim",
        [[2]],
        {"a.weight:0": (1,)},
        lambda net, x: net.b(aten.squeeze.dims(net.a(x)[:, :, None], [1, 2])),
        lambda: {"a": nn.Linear(5, 2), "b": nn.Linear(2, 4)},
    ),
    "squeeze in place": Literal(
        "squeeze_",
        "dim",
        [[]],
        {"a.weight:0": (1,)},
        lambda net, x: net.b((net.a(x) * 2).squeeze_(1)),
        lambda: {"a": nn.Linear(5, 2), "b": nn.Linear(2, 4)},
    ),
    "pad": Literal(
        "pad",
        "pad",
        [[0, 0, 1, 1, 1, 2]],
        {"c.weight:0": (0, 3, 15)},
        _padded,
        lambda: {"a": nn.Conv2d(3, 12, 1), "b": nn.Conv2d(17, 4, 1), "c": nn.Conv2d(3, 17, 1)},
        IMAGE,
    ),
    "index_select": Literal(
        "index_select", "dim", [1], SOME, _gathered, lambda: _dense() | {"order": torch.randperm(12)}
    ),
    "attention of one head": Literal(
        "scaled_dot_product_attention",
        "scale",
        [1 / math.sqrt(12)],
        {"q.weight:0": (1, 2)},
        _single,
        _attentive,
        SEQUENCE,
    ),
    "attention of many heads": Literal(
        "scaled_dot_product_attention", "scale", [None], HEAD, _unflattened, _attentive, SEQUENCE
    ),
    "group_norm, places in groups": Literal(
        "group_norm", "num_groups", [3], {"a.weight:0": (1,)}, _through, _convolved(nn.GroupNorm(3, 12)), IMAGE
    ),
    "group_norm, whole groups": Literal(
        "group_norm", "num_groups", [4], {"a.weight:0": (1, 6)}, _through, _convolved(nn.GroupNorm(6, 12)), IMAGE
    ),
    "group_norm, every channel": Literal(
        "group_norm", "num_groups", [9], SOME, _through, _convolved(nn.GroupNorm(12, 12)), IMAGE
    ),
    "native_group_norm": Literal(
        "native_group_norm", "group", [5], {"a.weight:0": (3,)}, _grouped, _convolved(), IMAGE
    ),
    "native_group_norm, channels": Literal(
        "native_group_norm", "C", [10], {"a.weight:0": (3,)}, _grouped, _convolved(), IMAGE
    ),
    "layer_norm": Literal(
        "layer_norm",
        "normalized_shape",
        [[9]],
        SOME,
        _after(lambda net, x: net.n(x)),
        lambda: _dense() | {"n": nn.LayerNorm(12)},
    ),
    "native_layer_norm": Literal(
        "native_layer_norm", "normalized_shape", [[9]], SOME, _normalized, _vector(w=(12,), v=(12,))
    ),
    "rms_norm": Literal(
        "rms_norm",
        "normalized_shape",
        [[9]],
        SOME,
        _after(lambda net, x: net.n(x)),
        lambda: _dense() | {"n": nn.RMSNorm(12)},
    ),
    "conv2d, depthwise": Literal(
        "conv2d", "groups", [1, 9, 1], SOME, _through, _convolved(nn.Conv2d(12, 12, 3, groups=12)), IMAGE
    ),
    "conv2d, depthwise that multiplies": Literal(
        "conv2d",
        "groups",
        [1, 9, 1],
        SOME,
        _through,
        lambda: {"a": nn.Conv2d(3, 12, 1), "m": nn.Conv2d(12, 24, 3, groups=12), "b": nn.Conv2d(24, 4, 1)},
        IMAGE,
    ),
    "conv2d, whole groups": Literal(
        "conv2d",
        "groups",
        [1, 4, 1],
        {"a.weight:0": (0, 7)},
        _through,
        _convolved(nn.Conv2d(12, 12, 3, groups=6)),
        IMAGE,
    ),
    "conv2d, places in groups": Literal(
        "conv2d", "groups", [1, 2, 1], {"a.weight:0": (0,)}, _through, _convolved(nn.Conv2d(12, 12, 3, groups=2)), IMAGE
    ),
    "conv1d": Literal(
        "conv1d",
        "groups",
        [1, 9, 1],
        SOME,
        _through,
        lambda: {"a": nn.Conv1d(3, 12, 1), "m": nn.Conv1d(12, 12, 3, groups=12), "b": nn.Conv1d(12, 4, 1)},
        (3, 8),
    ),
    "conv3d": Literal(
        "conv3d",
        "groups",
        [1, 9, 1],
        SOME,
        _through,
        lambda: {"a": nn.Conv3d(3, 12, 1), "m": nn.Conv3d(12, 12, 3, groups=12), "b": nn.Conv3d(12, 4, 1)},
        (3, 4, 4, 4),
    ),
    "conv_transpose2d": Literal(
        "conv_transpose2d", "groups", [9], SOME, _through, _convolved(nn.ConvTranspose2d(12, 12, 2, groups=12)), IMAGE
    ),
    "convolution": Literal(
        "convolution",
        "groups",
        [9],
        SOME,
        _convolution,
        lambda: _convolved()() | {"w": nn.Parameter(torch.randn(12, 1, 3, 3))},
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_literal_follows_the_cut(name: str) -> None:
    torch.manual_seed(0)
    case = LITERALS[name]
    program = program_of(Net(case.function, **case.parts()), torch.randn(EXAMPLES, *case.shape))
    lab, cut = cut_of(program, case.removed)
    sliced = operate(lab, cut)
    assert literals(sliced, case.called, case.argument) == case.becomes
    proof = prove(program, lab, cut, sliced, dtype=torch.float64)
    assert proof.holds, proof
    assert proof.effect > 1e-3
