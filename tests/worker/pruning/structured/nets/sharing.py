"""Parameters that are used several times, under several names, or not at all; and what goes in and comes out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, conv, floats, integers, pooled

IMAGE = (floats(3, 6, 6),)
ROW = (floats(5),)
IDS = (integers(11, 6),)


def _siamese(net: Net, left: Tensor, right: Tensor) -> Tensor:
    """One tower for two inputs; what it finds in both lies side by side."""
    return net.head(torch.cat([torch.relu(net.tower(left)), torch.relu(net.tower(right))], 1))


def _recurrent(net: Net, x: Tensor) -> Tensor:
    """One layer, applied three times: its inputs are its outputs."""
    x = torch.tanh(net.embed(x))
    for _ in range(3):
        x = torch.tanh(net.again(x))
    return net.head(x)


def _tied_embedding(net: Net, ids: Tensor) -> Tensor:
    x = net.words(ids)
    return functional.linear(x + net.inner(torch.relu(net.outer(x))), net.head.weight)


def _tied() -> Net:
    net = Net(_tied_embedding, words=nn.Embedding(11, 8), outer=nn.Linear(8, 6), inner=nn.Linear(6, 8))
    net.head = nn.Linear(8, 11, bias=False)
    net.head.weight = net.words.weight
    return net


def _autoencoder(net: Net, x: Tensor) -> Tensor:
    """The decoder's matrix is the encoder's, transposed."""
    return functional.linear(torch.relu(net.encoder(x)), net.encoder.weight.t(), net.bias)


def _two_out(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    x = torch.relu(net.stem(x))
    return net.head(x), net.other(torch.relu(net.side(x)))


def _features_out(net: Net, x: Tensor) -> dict[str, Any]:
    """The features themselves are an output, so their channels stay."""
    features = torch.relu(net.out(torch.relu(net.stem(x))))
    return {"features": features, "scores": {"first": net.head(torch.relu(net.last(features)))}}


def _three_inputs(net: Net, image: Tensor, row: Tensor, ids: Tensor) -> Tensor:
    seen = torch.relu(net.stem(image)).mean((2, 3))
    return net.head(torch.relu(seen + net.row(row) * net.words(ids).mean(1)))


def _scaled_by_buffer(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.body(x)) * net.scale + net.shift[0])


def _computed_constant(net: Net, x: Tensor) -> Tensor:
    """A ramp that the graph computes has no units: what it is multiplied with stays whole."""
    return net.head(torch.relu(net.body(x)) * torch.arange(1.0, 7.0) + net.side(torch.relu(net.inner(x))))


def _fully(net: Net, x: Tensor) -> Tensor:
    return net.out(functional.interpolate(torch.relu(net.stem(x)), scale_factor=2.0))


def _unused() -> Net:
    net = Net(lambda net, x: net.head(torch.relu(net.body(x))), body=nn.Linear(5, 6), head=nn.Linear(6, 4))
    net.auxiliary = nn.Linear(6, 9)
    return net


CASES = {
    "one tower for two inputs": Case(
        lambda: Net(_siamese, tower=nn.Linear(5, 6), head=nn.Linear(12, 4)),
        (floats(5), floats(5, seed=1)),
        {"neuron": [6]},
    ),
    "one layer three times": Case(
        lambda: Net(_recurrent, embed=nn.Linear(5, 6), again=nn.Linear(6, 6), head=nn.Linear(6, 4)),
        ROW,
        {"neuron": [6]},
    ),
    "tied embedding": Case(_tied, IDS, {"channel": [8], "neuron": [6]}, kept={"words.weight:0": 11}),
    "tied to its own transpose": Case(
        lambda: Net(_autoencoder, encoder=nn.Linear(5, 6), bias=nn.Parameter(torch.ones(5))),
        ROW,
        {"neuron": [6]},
        kept={"encoder.weight:1": 5},
    ),
    "parameters that nothing uses": Case(_unused, ROW, {"neuron": [6]}, kept={"auxiliary.weight:1": 6}),
    "a tuple comes out": Case(
        lambda: Net(_two_out, stem=conv(3, 8), side=conv(8, 5), head=pooled(8), other=pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
    ),
    "features come out in a dict": Case(
        lambda: Net(_features_out, stem=conv(3, 8), out=conv(8, 5), last=conv(5, 6), head=pooled(6)),
        IMAGE,
        {"channel": [6, 8]},
        frozen=(("output", "out.weight:0"),),
        kept={"out.weight:0": 5},
    ),
    "three inputs": Case(
        lambda: Net(
            _three_inputs, stem=conv(3, 8), row=nn.Linear(5, 8), words=nn.Embedding(11, 8), head=nn.Linear(8, 4)
        ),
        (*IMAGE, *ROW, *IDS),
        {"channel": [8]},
    ),
    "buffers": Case(
        lambda: Net(
            _scaled_by_buffer, body=nn.Linear(5, 6), scale=torch.ones(6), shift=torch.ones(2, 6), head=nn.Linear(6, 4)
        ),
        ROW,
        {"neuron": [6]},
    ),
    "a constant that is computed": Case(
        lambda: Net(
            _computed_constant, body=nn.Linear(5, 6), inner=nn.Linear(5, 7), side=nn.Linear(7, 6), head=nn.Linear(6, 4)
        ),
        ROW,
        {"neuron": [7]},
        frozen=(("mul*", "body.weight:0"),),
    ),
    "images of any size": Case(
        lambda: Net(_fully, stem=conv(3, 8), out=conv(8, 2)),
        IMAGE,
        {"channel": [8]},
        varying=({2: "height", 3: "width"},),
    ),
}  # fmt: skip
