"""Several rules at once, as they meet in real networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)
ROW = (floats(5),)
TOKENS = (floats(5, 6),)


def _apart(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _cell(net: Net, x: Tensor) -> Tensor:
    """An LSTM written out: a unit has an entry in each of the four gates, and in a state that starts as zeros."""
    state, memory = x.new_zeros(x.shape[0], 6), x.new_zeros(x.shape[0], 6)
    for step in range(3):
        entered, forgotten, left, new = (net.inputs(x[:, step]) + net.states(state)).chunk(4, dim=1)
        memory = torch.sigmoid(forgotten) * memory + torch.sigmoid(entered) * torch.tanh(new)
        state = torch.sigmoid(left) * torch.tanh(memory)
    return net.head(state)


def _maxout(net: Net, x: Tensor) -> Tensor:
    """The larger of two neurons: they are one unit."""
    return net.head(net.body(x).unflatten(1, (6, 2)).amax(2))


def _summed(net: Net, x: Tensor) -> Tensor:
    """A sum over units is exact without those that are gone."""
    x = torch.tanh(net.body(x))
    return net.head(x) + x.sum(1, keepdim=True)


def _squeezed(net: Net, x: Tensor) -> Tensor:
    """A squeeze that finds nothing to squeeze, until one unit alone is left."""
    return net.head(torch.relu(net.body(x)).squeeze(1))


def _shuffled_groups(net: Net, x: Tensor) -> Tensor:
    """ShuffleNet v1: grouped convolutions with a shuffle between."""
    x = functional.channel_shuffle(torch.relu(net.first(torch.relu(net.stem(x)))), 2)
    return net.head(torch.relu(net.out(torch.relu(net.second(x)))))


def _cropped(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.out(functional.pad(torch.relu(net.stem(x)), (0, 0, 0, 0, -2, -1)))))


def _pyramid(net: Net, x: Tensor) -> Tensor:
    """A feature pyramid: the coarse map is drawn up to the size of the fine one."""
    fine = torch.relu(net.stem(x))
    coarse = torch.relu(net.down(fine))
    return net.out(net.side(fine) + functional.interpolate(net.deep(coarse), size=fine.shape[2:], mode="bilinear"))


def _unpooled(net: Net, x: Tensor) -> Tensor:
    """SegNet: where the largest pixels were is remembered for the way back."""
    x, places = functional.max_pool2d(torch.relu(net.stem(x)), 2, return_indices=True)
    return net.head(torch.relu(net.out(functional.max_unpool2d(x, places, 2))))


def _over_pixels(net: Net, x: Tensor) -> Tensor:
    """SAGAN's attention: pixels attend to pixels, with one head."""
    x = torch.relu(net.stem(x))
    query, key, value = (part(x).flatten(2) for part in (net.query, net.key, net.value))
    mixed = value @ (query.transpose(1, 2) @ key).softmax(-1).transpose(1, 2)
    return net.head(x + net.scale * net.out(mixed.view_as(net.like(x))))


def _across_channels(net: Net, x: Tensor) -> Tensor:
    """XCiT: the channels of a head attend to each other."""
    x = net.embed(x)
    query, key, value = (_apart(part(x), 3).transpose(-2, -1) for part in (net.query, net.key, net.value))
    query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
    mixed = ((query @ key.transpose(-2, -1)) * net.temperature).softmax(-1) @ value
    return net.head(torch.tanh(x + net.out(mixed.permute(0, 3, 1, 2).flatten(2))).mean(1))


def _learned_queries(net: Net, x: Tensor) -> Tensor:
    """Perceiver: what asks is a parameter, expanded over the batch."""
    query = _apart(net.query(net.latents.expand(x.shape[0], -1, -1)), 3)
    mixed = functional.scaled_dot_product_attention(query, _apart(net.key(x), 3), _apart(net.value(x), 3))
    return net.head(torch.tanh(net.out(mixed.transpose(1, 2).flatten(2))).mean(1))


def _one_key(net: Net, x: Tensor) -> Tensor:
    """Multi-query attention: one key and value for all heads."""
    query, key, value = _apart(net.query(x), 4), net.key(x)[:, None], net.value(x)[:, None]
    mixed = (query @ key.transpose(-2, -1)).softmax(-1) @ value
    return net.head(torch.tanh(net.out(mixed.transpose(1, 2).flatten(2))).mean(1))


def _size_first(net: Net, x: Tensor) -> Tensor:
    """Heads that lie behind their size: (size, heads)."""
    query, key, value = (part(x).unflatten(-1, (4, 3)).permute(0, 3, 1, 2) for part in (net.query, net.key, net.value))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return net.head(torch.tanh(net.out(mixed.permute(0, 2, 3, 1).flatten(2))).mean(1))


def _windowed(net: Net, x: Tensor) -> Tensor:
    """Swin in full: rolled, windows in the batch, heads, a bias from a table, a mask between windows, and back."""
    x = torch.roll(net.stem(x).permute(0, 2, 3, 1), (-1, -1), (1, 2))
    windows = x.reshape(-1, 2, 3, 2, 3, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, 8)
    query, key, value = net.qkv(windows).reshape(windows.shape[0], 9, 3, 2, 6).permute(2, 0, 3, 1, 4)
    scores = query * 6**-0.5 @ key.transpose(-2, -1)
    scores = scores + net.table[net.index.view(-1)].view(9, 9, -1).permute(2, 0, 1).unsqueeze(0)
    scores = (scores.view(-1, 4, 2, 9, 9) + net.mask[:, None][None]).view(-1, 2, 9, 9).softmax(-1)
    mixed = net.out((scores @ value).transpose(1, 2).reshape(-1, 9, 12))
    back = mixed.view(-1, 2, 2, 3, 3, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, 6, 8)
    return net.head(torch.roll(back + x, (1, 1), (1, 2)).permute(0, 3, 1, 2))


def _without_gradient(net: Net, x: Tensor) -> Tensor:
    """Angles under no_grad, as Llama computes them, and a constant written into the code."""
    with torch.no_grad():
        angles = torch.arange(x.shape[1]).float()[:, None] * net.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], -1)
    x = torch.relu(net.embed(x))[:, :, torch.tensor([5, 0, 3, 2, 4, 1])]
    return net.head((x * net.wave(waves)).mean(1))


def _outer_parameters(net: Net, x: Tensor) -> Tensor:
    """A weight made of two smaller ones (low rank), and one added to another."""
    x = torch.relu(functional.linear(x, net.body.weight + net.left @ net.right, net.body.bias))
    return net.head(x)


def _heads(function: object, width: int, narrow: int | None = None, **more: object) -> Net:
    key = width if narrow is None else narrow
    return Net(
        function, query=nn.Linear(6, width), key=nn.Linear(6, key), value=nn.Linear(6, key), out=nn.Linear(width, 8),
        head=nn.Linear(8, 4), **more,
    )  # fmt: skip


CASES = {
    "lstm written out": Case(
        lambda: Net(_cell, inputs=nn.Linear(6, 24), states=nn.Linear(6, 24), head=nn.Linear(6, 4)),
        TOKENS,
        {"neuron": [6]},
    ),
    "maxout": Case(lambda: Net(_maxout, body=nn.Linear(5, 12), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}),
    "sum over units": Case(lambda: Net(_summed, body=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}),
    "squeeze of nothing": Case(
        lambda: Net(_squeezed, body=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}
    ),
    "shuffle between groups": Case(
        lambda: Net(
            _shuffled_groups, stem=conv(3, 12), first=conv(12, 8, groups=2), second=conv(8, 10, groups=2),
            out=conv(10, 7), head=pooled(7),
        ),
        IMAGE,
        {"channel": [2, 5, 6, 7]},
    ),
    "channels cropped": Case(
        lambda: Net(_cropped, stem=conv(3, 8), out=conv(5, 6), head=pooled(6)), IMAGE, {"channel": [6]},
        frozen=(("pad*", "stem.weight:0"),),
    ),
    "feature pyramid, any size": Case(
        lambda: Net(
            _pyramid, stem=conv(3, 5), down=conv(5, 7, stride=2), side=conv(5, 6, 1), deep=conv(7, 6, 1), out=conv(6, 2)
        ),
        IMAGE,
        {"channel": [5, 6, 7]},
        varying=({2: "height", 3: "width"},),
    ),
    "pixels unpooled": Case(
        lambda: Net(_unpooled, stem=conv(3, 8), out=conv(8, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5]},
        frozen=(("max_unpool2d*", "stem.weight:0"),),
    ),
    "attention over pixels": Case(
        lambda: Net(
            _over_pixels, stem=conv(3, 8), query=conv(8, 3, 1), key=conv(8, 3, 1), value=conv(8, 5, 1),
            like=conv(8, 5, 1), out=conv(5, 8, 1), scale=nn.Parameter(torch.ones(())), head=pooled(8),
        ),
        IMAGE,
        {"channel": [3, 5, 8]},
    ),
    "attention across channels": Case(
        lambda: Net(
            _across_channels, embed=nn.Linear(6, 8), query=nn.Linear(8, 12), key=nn.Linear(8, 12),
            value=nn.Linear(8, 12), out=nn.Linear(12, 8), temperature=nn.Parameter(torch.ones(3, 1, 1)),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {"head": [3], "neuron": [8]},
    ),
    "learned queries": Case(
        lambda: Net(
            _learned_queries, latents=nn.Parameter(torch.ones(1, 2, 7)), query=nn.Linear(7, 12), key=nn.Linear(6, 12),
            value=nn.Linear(6, 12), out=nn.Linear(12, 8), head=nn.Linear(8, 4),
        ),
        TOKENS,
        {"head": [3], "neuron": [2, 7, 8]},
        exact=False,
    ),
    "one key for all heads": Case(
        lambda: _heads(_one_key, 12, 3), TOKENS, {"head": [4], "neuron": [8]}, frozen=(("*", "value.weight:0"),)
    ),
    "heads behind their size": Case(lambda: _heads(_size_first, 12), TOKENS, {"head": [3], "neuron": [8]}),
    "swin": Case(
        lambda: Net(
            _windowed, stem=conv(3, 8), qkv=nn.Linear(8, 36), out=nn.Linear(12, 8), head=pooled(8),
            table=nn.Parameter(torch.ones(25, 2)), index=torch.arange(81).view(9, 9) % 25,
            mask=floats(4, 9, 9)[0].clone(),
        ),
        IMAGE,
        {"head": [2], "channel": [8]},
    ),
    "no_grad and a constant in the code": Case(
        lambda: Net(
            _without_gradient, frequencies=torch.ones(3), embed=nn.Linear(6, 6), wave=nn.Linear(6, 6),
            head=nn.Linear(6, 4),
        ),
        TOKENS,
        {"neuron": [3, 6]},
    ),
    "a weight that is computed": Case(
        lambda: Net(
            _outer_parameters, body=nn.Linear(5, 6), left=nn.Parameter(torch.ones(6, 2)),
            right=nn.Parameter(torch.ones(2, 5)), head=nn.Linear(6, 4),
        ),
        ROW,
        {"neuron": [2, 6]},
    ),
}  # fmt: skip
