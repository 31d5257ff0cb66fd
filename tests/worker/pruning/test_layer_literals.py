"""Literals of layers that hold a size of what is cut: groups, normalized shapes, the scale of attention."""

from __future__ import annotations

import math

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
    convolved,
    dense,
    through,
    unflattened,
    vector,
)

aten = torch.ops.aten


def _single(net: Net, x: Tensor) -> Tensor:
    return net.b(F.scaled_dot_product_attention(net.q(x), net.k(x), net.v(x)))


def _normalized(net: Net, x: Tensor) -> Tensor:
    return net.b(aten.native_layer_norm.default(net.a(x), [12], net.w, net.v, 1e-5)[0])


def _grouped(net: Net, x: Tensor) -> Tensor:
    return net.b(aten.native_group_norm.default(net.a(x), None, None, x.shape[0], 12, 64, 6, 1e-5)[0])


def _convolution(net: Net, x: Tensor) -> Tensor:
    pairs = [1, 1]
    return net.b(aten.convolution.default(net.a(x), net.w, None, pairs, pairs, pairs, False, [0, 0], 12).relu())


LITERALS = {
    "attention of one head": Literal(
        "scaled_dot_product_attention",
        "scale",
        [1 / math.sqrt(12)],
        {"q.weight:0": (1, 2)},
        _single,
        attentive,
        SEQUENCE,
    ),
    "attention of many heads": Literal(
        "scaled_dot_product_attention", "scale", [None], HEAD, unflattened, attentive, SEQUENCE
    ),
    "group_norm, places in groups": Literal(
        "group_norm", "num_groups", [3], {"a.weight:0": (1,)}, through, convolved(nn.GroupNorm(3, 12)), IMAGE
    ),
    "group_norm, whole groups": Literal(
        "group_norm", "num_groups", [4], {"a.weight:0": (1, 6)}, through, convolved(nn.GroupNorm(6, 12)), IMAGE
    ),
    "group_norm, every channel": Literal(
        "group_norm", "num_groups", [9], SOME, through, convolved(nn.GroupNorm(12, 12)), IMAGE
    ),
    "native_group_norm": Literal("native_group_norm", "group", [5], {"a.weight:0": (3,)}, _grouped, convolved(), IMAGE),
    "native_group_norm, channels": Literal(
        "native_group_norm", "C", [10], {"a.weight:0": (3,)}, _grouped, convolved(), IMAGE
    ),
    "layer_norm": Literal(
        "layer_norm",
        "normalized_shape",
        [[9]],
        SOME,
        after(lambda net, x: net.n(x)),
        lambda: dense() | {"n": nn.LayerNorm(12)},
    ),
    "native_layer_norm": Literal(
        "native_layer_norm", "normalized_shape", [[9]], SOME, _normalized, vector(w=(12,), v=(12,))
    ),
    "rms_norm": Literal(
        "rms_norm",
        "normalized_shape",
        [[9]],
        SOME,
        after(lambda net, x: net.n(x)),
        lambda: dense() | {"n": nn.RMSNorm(12)},
    ),
    "conv2d, depthwise": Literal(
        "conv2d", "groups", [1, 9, 1], SOME, through, convolved(nn.Conv2d(12, 12, 3, groups=12)), IMAGE
    ),
    "conv2d, depthwise that multiplies": Literal(
        "conv2d",
        "groups",
        [1, 9, 1],
        SOME,
        through,
        lambda: {"a": nn.Conv2d(3, 12, 1), "m": nn.Conv2d(12, 24, 3, groups=12), "b": nn.Conv2d(24, 4, 1)},
        IMAGE,
    ),
    "conv2d, whole groups": Literal(
        "conv2d",
        "groups",
        [1, 4, 1],
        {"a.weight:0": (0, 7)},
        through,
        convolved(nn.Conv2d(12, 12, 3, groups=6)),
        IMAGE,
    ),
    "conv2d, places in groups": Literal(
        "conv2d", "groups", [1, 2, 1], {"a.weight:0": (0,)}, through, convolved(nn.Conv2d(12, 12, 3, groups=2)), IMAGE
    ),
    "conv1d": Literal(
        "conv1d",
        "groups",
        [1, 9, 1],
        SOME,
        through,
        lambda: {"a": nn.Conv1d(3, 12, 1), "m": nn.Conv1d(12, 12, 3, groups=12), "b": nn.Conv1d(12, 4, 1)},
        (3, 8),
    ),
    "conv3d": Literal(
        "conv3d",
        "groups",
        [1, 9, 1],
        SOME,
        through,
        lambda: {"a": nn.Conv3d(3, 12, 1), "m": nn.Conv3d(12, 12, 3, groups=12), "b": nn.Conv3d(12, 4, 1)},
        (3, 4, 4, 4),
    ),
    "conv_transpose2d": Literal(
        "conv_transpose2d", "groups", [9], SOME, through, convolved(nn.ConvTranspose2d(12, 12, 2, groups=12)), IMAGE
    ),
    "convolution": Literal(
        "convolution",
        "groups",
        [9],
        SOME,
        _convolution,
        lambda: convolved()() | {"w": nn.Parameter(torch.randn(12, 1, 3, 3))},
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_literal_follows_the_cut(name: str) -> None:
    check(LITERALS[name])
