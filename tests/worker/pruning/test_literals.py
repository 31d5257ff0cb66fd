"""Literals that hold a size or a place of what is cut: what they become, and that the program is right with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worker.pruning.cutting import Net
from tests.worker.pruning.literal import (
    HEAD,
    IMAGE,
    SEQUENCE,
    SOME,
    Literal,
    after,
    attentive,
    check,
    dense,
    halves,
    unflattened,
    vector,
)

aten = torch.ops.aten


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


def _padded(net: Net, x: Tensor) -> Tensor:
    return net.b((F.pad(net.a(x), (0, 0, 1, 1, 2, 3))[:, :, 1:-1] + net.c(x)).relu())


def _gathered(net: Net, x: Tensor) -> Tensor:
    return net.b(torch.index_select(net.a(x), 1, net.order).tanh())


LITERALS = {
    "view": Literal("view", "size", [["n", 9]], SOME, after(lambda net, x: x.view(x.shape[0], 12)), dense),
    "view, first inferred": Literal("view", "size", [[-1, 9]], SOME, after(lambda net, x: x.view(-1, 12)), dense),
    "view, last inferred": Literal(
        "view", "size", [["n", -1]], SOME, after(lambda net, x: x.view(x.shape[0], -1)), dense
    ),
    "reshape": Literal("reshape", "shape", [["n", 9]], SOME, after(lambda net, x: x.reshape(x.shape[0], 12)), dense),
    "_unsafe_view": Literal(
        "_unsafe_view",
        "size",
        [["n", 9]],
        SOME,
        after(lambda net, x: aten._unsafe_view.default(x, [x.shape[0], 12])),
        dense,
    ),
    "view, heads in the batch": Literal(
        "view",
        "size",
        [[7, -1, 4]] * 3 + [[7, "n", 4]],
        HEAD,
        _folded(lambda batch: (7, batch * 3, 4)),
        attentive,
        SEQUENCE,
    ),
    "view, heads in the batch and a size inferred": Literal(
        "view",
        "size",
        [[-1, "n", 4]] * 3 + [[7, "n", 4]],
        HEAD,
        _folded(lambda batch: (-1, batch * 3, 4)),
        attentive,
        SEQUENCE,
    ),
    "unflatten": Literal("unflatten", "sizes", [[2, 4]] * 3, HEAD, unflattened, attentive, SEQUENCE),
    "expand": Literal(
        "expand", "size", [["n", 9]], SOME, after(lambda net, x: x + net.w.expand(x.shape[0], 12)), vector(w=(1,))
    ),
    "expand, sizes kept": Literal(
        "expand", "size", [["n", -1]], SOME, after(lambda net, x: x + net.w.expand(x.shape[0], -1)), vector(w=(12,))
    ),
    "repeat": Literal(
        "repeat", "repeats", [["n", 9]], SOME, after(lambda net, x: x + net.w.repeat(x.shape[0], 12)), vector(w=(1,))
    ),
    "repeat_interleave": Literal(
        "repeat_interleave",
        "output_size",
        [18],
        SOME,
        after(lambda net, x: aten.repeat_interleave.self_int(x, 2, 1, output_size=24)),
        lambda: dense() | {"b": nn.Linear(24, 4)},
    ),
    "zeros": Literal("zeros", "size", [["n", 9]], SOME, after(lambda net, x: x * torch.zeros(x.shape).exp()), dense),
    "ones": Literal("ones", "size", [["n", 9]], SOME, after(lambda net, x: x + torch.ones(x.shape)), dense),
    "full": Literal("full", "size", [["n", 9]], SOME, after(lambda net, x: x + torch.full(x.shape, 0.5)), dense),
    "new_zeros": Literal(
        "new_zeros", "size", [["n", 9]], SOME, after(lambda net, x: x + x.new_zeros(x.shape).exp()), dense
    ),
    "new_ones": Literal("new_ones", "size", [["n", 9]], SOME, after(lambda net, x: x + x.new_ones(x.shape)), dense),
    "slice": Literal(
        "slice", "start", [4], SOME, after(lambda net, x: x[:, 6:11]), lambda: dense() | {"b": nn.Linear(5, 4)}
    ),
    "slice, end": Literal(
        "slice", "end", [8], SOME, after(lambda net, x: x[:, 6:11]), lambda: dense() | {"b": nn.Linear(5, 4)}
    ),
    "slice from the end": Literal(
        "slice", "start", [5], SOME, after(lambda net, x: x[:, -5:]), lambda: dense() | {"b": nn.Linear(5, 4)}
    ),
    "narrow": Literal(
        "narrow",
        "length",
        [4],
        SOME,
        after(lambda net, x: x.narrow(1, 2, 5)),
        lambda: dense() | {"b": nn.Linear(5, 4)},
    ),
    "narrow, start": Literal(
        "narrow",
        "start",
        [1],
        SOME,
        after(lambda net, x: x.narrow(1, 2, 5)),
        lambda: dense() | {"b": nn.Linear(5, 4)},
    ),
    "select": Literal(
        "select", "index", [3], SOME, after(lambda net, x: x * x[:, 5:6] + x.select(1, 5)[:, None]), dense
    ),
    "chunk": Literal(
        "split_with_sizes",
        "split_sizes",
        [[4, 5]],
        SOME,
        _pieces(lambda x: x.chunk(2, 1)),
        lambda: halves() | {"b": nn.Linear(6, 4), "c": nn.Linear(6, 4)},
    ),
    "split": Literal(
        "split_with_sizes",
        "split_sizes",
        [[5, 4]],
        SOME,
        _pieces(lambda x: x.split(7, dim=-1)),
        lambda: halves() | {"b": nn.Linear(7, 4), "c": nn.Linear(5, 4)},
    ),
    "split in sizes": Literal(
        "split_with_sizes", "split_sizes", [[3, 6]], SOME, _pieces(lambda x: x.split([5, 7], 1)), halves
    ),
    "tensor_split": Literal(
        "split_with_sizes", "split_sizes", [[3, 6]], SOME, _pieces(lambda x: x.tensor_split([5], 1)), halves
    ),
    "unsafe_split": Literal(
        "split_with_sizes",
        "split_sizes",
        [[4, 5]],
        SOME,
        _pieces(lambda x: aten.unsafe_split.Tensor(x, 6, 1)),
        lambda: halves() | {"b": nn.Linear(6, 4), "c": nn.Linear(6, 4)},
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
        "index_select", "dim", [1], SOME, _gathered, lambda: dense() | {"order": torch.randperm(12)}
    ),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_literal_follows_the_cut(name: str) -> None:
    check(LITERALS[name])
