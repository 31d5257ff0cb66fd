"""What a label cannot follow: it stays whole, its node and reason are named, and the rest is pruned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)
TOKENS = (floats(4, 5),)
ROW = (floats(5),)


def _recurrent(net: Net, x: Tensor) -> Tensor:
    """A recurrent layer between two that can be pruned; what goes in and comes out stays whole."""
    x, _ = net.memory(net.embed(torch.relu(net.first(x))))
    return net.head(torch.relu(net.inner(x)).mean(1))


def _efficient(net: Net, x: Tensor) -> Tensor:
    """ECA: a convolution along the channels."""
    x = torch.relu(net.stem(x))
    gate = torch.sigmoid(net.along(x.mean((2, 3))[:, None]))
    return net.head(torch.relu(net.out(x * gate.transpose(1, 2)[..., None])))


def _largest(net: Net, x: Tensor) -> Tensor:
    """The four largest, whichever they are."""
    return net.head(torch.tanh(net.inner(net.body(x).topk(4, dim=1).values)))


def _routed(net: Net, x: Tensor) -> Tensor:
    """Which column of a table is taken depends on which neuron is the largest."""
    chosen = torch.tanh(net.gate(torch.relu(net.inner(x)))).argmax(1)
    return net.head(net.table[chosen] * torch.relu(net.body(x)))


def _running(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.tanh(net.inner(net.body(x).cumsum(1))))


def _indexed(net: Net, x: Tensor) -> Tensor:
    """Neurons are taken by an index that is computed from the input."""
    which = (x[:, :3] > 0).long() + 2
    return net.head(torch.tanh(net.inner(net.body(x).gather(1, which))))


def _spectrum(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.tanh(net.inner(torch.fft.rfft(net.body(x)).abs())))


def _memory(layer: type[nn.RNNBase]) -> Net:
    return Net(
        _recurrent, first=nn.Linear(5, 9), embed=nn.Linear(9, 6), memory=layer(6, 7, batch_first=True),
        inner=nn.Linear(7, 8), head=nn.Linear(8, 4),
    )  # fmt: skip


def _stopped(function: object, arrives: int, leaves: int) -> Net:
    """A layer of `arrives` neurons that are stopped, and one behind that finds `leaves` and gives 6."""
    return Net(function, body=nn.Linear(5, arrives), inner=nn.Linear(leaves, 6), head=nn.Linear(6, 4))


def _case(function: object, arrives: int, leaves: int, node: str) -> Case:
    return Case(
        lambda: _stopped(function, arrives, leaves), ROW, {"neuron": [6]}, frozen=((node, "body.weight:0"),),
        kept={"body.weight:0": arrives},
    )  # fmt: skip


CASES = {
    "lstm": Case(
        lambda: _memory(nn.LSTM), TOKENS, {"neuron": [8, 9]},
        frozen=(("lstm*", "embed.weight:0"), ("lstm*", "memory.weight_ih_l0:0"), ("lstm*", "memory.weight_hh_l0:1")),
        kept={"memory.weight_hh_l0:1": 7, "embed.weight:0": 6, "inner.weight:1": 7},
    ),
    "gru": Case(
        lambda: _memory(nn.GRU), TOKENS, {"neuron": [8, 9]},
        frozen=(("gru*", "embed.weight:0"), ("gru*", "memory.weight_hh_l0:0")),
        kept={"memory.weight_hh_l0:1": 7, "embed.weight:0": 6, "inner.weight:1": 7},
    ),
    "a convolution along the channels": Case(
        lambda: Net(_efficient, stem=conv(3, 8), along=nn.Conv1d(1, 1, 3, padding=1), out=conv(8, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5]},
        frozen=(("conv1d*", "stem.weight:0"),),
        kept={"stem.weight:0": 8},
    ),
    "the largest neurons": _case(_largest, 7, 4, "topk*"),
    "the largest neuron's place": Case(
        lambda: Net(
            _routed, inner=nn.Linear(5, 9), gate=nn.Linear(9, 3), table=nn.Parameter(torch.ones(3, 6)),
            body=nn.Linear(5, 6), head=nn.Linear(6, 4),
        ),
        ROW,
        {"neuron": [6, 9]},
        frozen=(("argmax*", "gate.weight:0"), ("index*", "table:0")),
    ),
    "running sums": _case(_running, 7, 7, "cumsum*"),
    "indexed by the input": _case(_indexed, 7, 3, "gather*"),
    "an unknown operator": _case(_spectrum, 8, 5, "fft*"),
}  # fmt: skip
