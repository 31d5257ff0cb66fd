"""Products, gates, aliases of operators, and axes that are mixed in unusual ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)
ROW = (floats(5),)
TOKENS = (floats(4, 5),)


def _glu(net: Net, x: Tensor) -> Tensor:
    return net.head(functional.glu(net.stem(x), 1))


def _aliases(net: Net, x: Tensor) -> Tensor:
    """The same arithmetic under its other names, with numbers that hold no units."""
    x = torch.multiply(torch.tanh(net.body(x)), 3.0)
    x = torch.subtract(torch.true_divide(x, net.by.square() + 1.0), torch.rsub(x, 1.0))
    return net.head(torch.divide(x, torch.maximum(net.by.abs(), torch.ones(()))).square())


def _where(net: Net, x: Tensor) -> Tensor:
    x, other = net.body(x), net.other(x)
    x = torch.where(x > 0, x, other).masked_fill(other > 1.5, 0.25)
    return net.head(x.clamp(-1.0, 1.0) + x.pow(2))


def _mixer(net: Net, x: Tensor) -> Tensor:
    """An MLP over tokens and one over channels, in one residual stream."""
    x = net.embed(x)
    x = x + net.tokens_out(functional.gelu(net.tokens_in(x.transpose(1, 2)))).transpose(1, 2)
    x = x + net.out(functional.gelu(net.inner(x)))
    return net.head(torch.tanh(x).sum(1))


def _outer(net: Net, x: Tensor) -> Tensor:
    """An outer product whose two axes are contracted one after the other."""
    both = net.left(x)[:, :, None] * net.right(x)[:, None, :]
    return net.head((torch.relu(both) @ net.over).flatten(1))


def _product_axes(net: Net, x: Tensor) -> Tensor:
    """Tokens that are units, times channels, flattened into the columns of one parameter: one of both is frozen."""
    x = net.mix(torch.relu(net.embed(x)).transpose(1, 2))
    return net.head(torch.tanh(x).flatten(1))


def _bilinear(net: Net, x: Tensor) -> Tensor:
    """A form of two activations and one parameter of three axes."""
    return net.head(torch.einsum("bi,oij,bj->bo", net.left(x).tanh(), net.form, net.right(x).tanh()))


def _einsum_chain(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(torch.einsum("btc,ck->btk", x, net.first))
    return torch.einsum("bkt,ko->bo", x.transpose(1, 2), net.second)


def _addmm(net: Net, x: Tensor) -> Tensor:
    """GPT-2's Conv1D: the weight is stored the other way round."""
    x = functional.gelu(torch.addmm(net.bias, x, net.weight))
    return torch.addmm(net.last_bias, x, net.last_weight)


def _batched_experts(net: Net, x: Tensor) -> Tensor:
    """Every expert sees every row; the gate's softmax across experts freezes them, and their neurons stay units."""
    inner = torch.relu(torch.einsum("bi,eih->beh", x, net.first))
    outputs = torch.einsum("beh,eho->beo", inner, net.second)
    return (outputs * net.gate(x).softmax(-1)[:, :, None]).sum(1)


def _units_by_softmax(net: Net, x: Tensor) -> Tensor:
    return net.head(net.codes(net.body(x).tanh()).softmax(-1) @ net.book)


def _normalized(net: Net, x: Tensor) -> Tensor:
    """Unit length along the units, as in contrastive heads."""
    return net.head(functional.normalize(net.body(x), dim=-1))


def _similarity(net: Net, left: Tensor, right: Tensor) -> Tensor:
    """CLIP's scores: a contraction of two towers of the same width."""
    return (torch.tanh(net.left(left)) * torch.tanh(net.right(right))).sum(-1, keepdim=True) * net.scale.exp()


def _outer_net() -> Net:
    return Net(
        _outer, left=nn.Linear(5, 6), right=nn.Linear(5, 7), over=nn.Parameter(torch.ones(7, 1)), head=nn.Linear(6, 4)
    )


CASES = {
    "glu over channels": Case(
        lambda: Net(_glu, stem=conv(3, 12), head=pooled(6)), IMAGE, {"channel": [6]}
    ),
    "prelu": Case(
        lambda: nn.Sequential(conv(3, 8), nn.PReLU(8), conv(8, 5), nn.PReLU(), pooled(5)), IMAGE, {"channel": [5, 8]}
    ),
    "operators under other names": Case(
        lambda: Net(_aliases, body=nn.Linear(5, 6), by=nn.Parameter(torch.ones(6)), head=nn.Linear(6, 4)),
        ROW,
        {"neuron": [6]},
    ),
    "where and masks": Case(
        lambda: Net(_where, body=nn.Linear(5, 6), other=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}
    ),
    "tokens mixed": Case(
        lambda: Net(
            _mixer, embed=nn.Linear(5, 8), tokens_in=nn.Linear(4, 6), tokens_out=nn.Linear(6, 4),
            inner=nn.Linear(8, 7), out=nn.Linear(7, 8), head=nn.Linear(8, 4),
        ),
        TOKENS,
        {"neuron": [6, 7, 8]},
    ),
    "outer product": Case(_outer_net, ROW, {"neuron": [6, 7]}),
    "two unit axes in one": Case(
        lambda: Net(_product_axes, embed=nn.Linear(5, 8), mix=nn.Linear(4, 3), head=nn.Linear(24, 4)),
        TOKENS,
        {"neuron": [8]},
        frozen=(("*", "mix.weight:0"),),
    ),
    "bilinear form": Case(
        lambda: Net(
            _bilinear, left=nn.Linear(5, 6), right=nn.Linear(5, 7), form=nn.Parameter(torch.ones(8, 6, 7)),
            head=nn.Linear(8, 4),
        ),
        ROW,
        {"neuron": [6, 7, 8]},
    ),
    "einsum with parameters": Case(
        lambda: Net(_einsum_chain, first=nn.Parameter(torch.ones(5, 6)), second=nn.Parameter(torch.ones(6, 4))),
        TOKENS,
        {"neuron": [6]},
    ),
    "weights stored the other way round": Case(
        lambda: Net(
            _addmm, weight=nn.Parameter(torch.ones(5, 6)), bias=nn.Parameter(torch.ones(6)),
            last_weight=nn.Parameter(torch.ones(6, 4)), last_bias=nn.Parameter(torch.ones(4)),
        ),
        ROW,
        {"neuron": [6]},
    ),
    "experts in one parameter": Case(
        lambda: Net(
            _batched_experts, first=nn.Parameter(torch.ones(3, 5, 6)), second=nn.Parameter(torch.ones(3, 6, 4)),
            gate=nn.Linear(5, 3),
        ),
        ROW,
        {"neuron": [6]},
        frozen=(("softmax*", "gate.weight:0"),),
    ),
    "softmax across units": Case(
        lambda: Net(
            _units_by_softmax, body=nn.Linear(5, 8), codes=nn.Linear(8, 6), book=nn.Parameter(torch.ones(6, 7)),
            head=nn.Linear(7, 4),
        ),
        ROW,
        {"neuron": [7, 8]},
        frozen=(("softmax*", "codes.weight:0"), ("matmul*", "book:0")),
    ),
    "unit length": Case(
        lambda: Net(_normalized, body=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}
    ),
    "two towers": Case(
        lambda: Net(_similarity, left=nn.Linear(5, 6), right=nn.Linear(7, 6), scale=nn.Parameter(torch.ones(()))),
        (floats(5), floats(7, seed=1)),
        {"neuron": [6]},
    ),
}  # fmt: skip
