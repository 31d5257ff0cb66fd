"""Attention with more than one input: torch's own layers, masks given by the user, cross-attention, layer scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, floats, integers

TOKENS = floats(5, 8)
PADDED = torch.arange(5)[None] >= torch.tensor([[5], [3], [4]])


def _apart(x: Tensor) -> Tensor:
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


def _multihead(net: Net, x: Tensor, padded: Tensor) -> Tensor:
    x = net.embed(x)
    mixed, _ = net.attention(x, x, x, key_padding_mask=padded, need_weights=False)
    return net.head(torch.tanh(x + mixed).mean(1))


def _multihead_weights(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """The weights, averaged over the heads, are an output."""
    mixed, weights = net.attention(x, x, x)
    return net.head(mixed), weights


def _encoder(net: Net, x: Tensor, padded: Tensor) -> Tensor:
    return net.head(net.encoder(net.embed(x), src_key_padding_mask=padded).mean(1))


def _masked(net: Net, x: Tensor, mask: Tensor) -> Tensor:
    """A mask of the user, of size 1 along the heads."""
    x = net.embed(x)
    query, key, value = (_apart(part(x)) for part in (net.query, net.key, net.value))
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])
    return net.head(net.out(mixed.transpose(1, 2).flatten(2)).mean(1))


def _cross(net: Net, x: Tensor, memory: Tensor) -> Tensor:
    query, key, value = _apart(net.query(x)), _apart(net.key(memory)), _apart(net.value(memory))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return net.head(torch.relu(net.out(mixed.transpose(1, 2).flatten(2))))


def _scaled(net: Net, x: Tensor) -> Tensor:
    """Layer scale: each branch is multiplied by a parameter before it is added."""
    x = net.embed(x)
    x = x + net.first * net.mix(torch.tanh(x))
    x = x + net.second * net.down(functional.gelu(net.up(x)))
    return net.head(x.mean(1))


def _positions(net: Net, ids: Tensor) -> Tensor:
    x = net.words(ids) + net.places[:, : ids.shape[1]]
    x = torch.cat([net.token.expand(x.shape[0], -1, -1), x], 1)
    return net.head(torch.tanh(x + net.mix(torch.relu(x)))[:, 0])


def _positioned() -> Net:
    return Net(
        _positions, words=nn.Embedding(11, 8), places=nn.Parameter(torch.ones(1, 64, 8)),
        token=nn.Parameter(torch.ones(1, 1, 8)), mix=nn.Linear(8, 8), head=nn.Linear(8, 4),
    )  # fmt: skip


def _heads_of_linear(net: Net, x: Tensor) -> Tensor:
    """A matrix of its own for each head, as one parameter of three axes."""
    x = torch.relu(net.embed(x)).unflatten(-1, (2, 4))
    return net.head(torch.einsum("bthi,hio->btho", x, net.each).relu().sum(2).mean(1))


def _layer(**more: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True, **more)


def _projections() -> dict[str, nn.Module]:
    return {"query": nn.Linear(8, 12), "key": nn.Linear(8, 12), "value": nn.Linear(8, 12), "out": nn.Linear(12, 6)}


CASES = {
    "MultiheadAttention with padding": Case(
        lambda: Net(
            _multihead, embed=nn.Linear(8, 12), attention=nn.MultiheadAttention(12, 3, batch_first=True),
            head=nn.Linear(12, 4),
        ),
        (TOKENS, PADDED),
        {"head": [3], "neuron": [12]},
    ),
    "MultiheadAttention that gives its weights": Case(
        lambda: Net(_multihead_weights, attention=nn.MultiheadAttention(8, 4, batch_first=True), head=nn.Linear(8, 4)),
        (TOKENS,),
        {"head": [4], "neuron": [8]},
        exact=False,
    ),
    "TransformerEncoder with padding": Case(
        lambda: Net(
            _encoder, embed=nn.Linear(8, 8), head=nn.Linear(8, 4),
            encoder=nn.TransformerEncoder(_layer(), 2, enable_nested_tensor=False),
        ),
        (TOKENS, PADDED),
        {"head": [2, 2], "neuron": [8, 12, 12]},
        exact=False,
    ),
    "TransformerEncoder, norms first": Case(
        lambda: nn.Sequential(
            nn.Linear(8, 8),
            nn.TransformerEncoder(_layer(norm_first=True, activation="gelu"), 1, nn.LayerNorm(8)),
            nn.Linear(8, 4),
        ),
        (TOKENS,),
        {"head": [2], "neuron": [8, 12]},
        varying=({1: "tokens"},),
        exact=False,
    ),
    "a mask of the user": Case(
        lambda: Net(_masked, embed=nn.Linear(8, 8), head=nn.Linear(6, 4), **_projections()),
        (TOKENS, floats(5, 5, seed=1)),
        {"head": [2], "neuron": [6, 8]},
    ),
    "cross-attention": Case(
        lambda: Net(_cross, head=nn.Linear(6, 4), **_projections()),
        (TOKENS, floats(7, 8, seed=1)),
        {"head": [2], "neuron": [6]},
        varying=({1: "tokens"}, {1: "remembered"}),
    ),
    "layer scale": Case(
        lambda: Net(
            _scaled, embed=nn.Linear(8, 8), mix=nn.Linear(8, 8), up=nn.Linear(8, 10), down=nn.Linear(10, 8),
            first=nn.Parameter(torch.ones(8)), second=nn.Parameter(torch.ones(1, 1, 8)), head=nn.Linear(8, 4),
        ),
        (TOKENS,),
        {"neuron": [8, 10]},
    ),
    "positions, more than the tokens at export": Case(
        _positioned,
        (integers(11, 5),),
        {"channel": [8]},
        frozen=(("embedding*", "words.weight:0"), ("slice*", "places:1")),
        kept={"words.weight:0": 11, "places:1": 64},
        varying=({1: "tokens"},),
    ),
    "a matrix for each head": Case(
        lambda: Net(
            _heads_of_linear, embed=nn.Linear(8, 8), each=nn.Parameter(torch.ones(2, 4, 3)), head=nn.Linear(3, 4)
        ),
        (TOKENS,),
        {"neuron": [2, 3]},
    ),
}  # fmt: skip
