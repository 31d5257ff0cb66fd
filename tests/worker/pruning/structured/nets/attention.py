"""Attention in the ways it is written: where heads come from, what is added to the scores, how they are shared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, floats

TOKENS = (floats(5, 6),)
HEADS, SIZE = 3, 4
WIDTH = HEADS * SIZE


def _apart(x: Tensor, heads: int = HEADS) -> Tensor:
    """(batch, tokens, heads * size) to (batch, heads, tokens, size)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _together(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _block(net: Net, x: Tensor, attend: Callable[[Net, Tensor], Tensor]) -> Tensor:
    """Attention in a residual stream of 8."""
    x = net.embed(x)
    x = x + net.out(attend(net, x))
    return net.head(torch.tanh(x).mean(1))


def _fused(net: Net, x: Tensor) -> Tensor:
    query, key, value = net.qkv(x).reshape(x.shape[0], x.shape[1], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4).unbind(0)
    return _together(functional.scaled_dot_product_attention(query, key, value))


def _fused_split(net: Net, x: Tensor) -> Tensor:
    return _together(functional.scaled_dot_product_attention(*(_apart(part) for part in net.qkv(x).split(WIDTH, 2))))


def _fused_inside_heads(net: Net, x: Tensor) -> Tensor:
    parts = net.qkv(x).view(x.shape[0], x.shape[1], HEADS, 3 * SIZE).transpose(1, 2).chunk(3, dim=-1)
    return _together(functional.scaled_dot_product_attention(*parts))


def _separate(net: Net, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _apart(net.query(x)), _apart(net.key(x)), _apart(net.value(x))


def _operator(net: Net, x: Tensor) -> Tensor:
    return _together(functional.scaled_dot_product_attention(*_separate(net, x)))


def _explicit(net: Net, x: Tensor) -> Tensor:
    query, key, value = _separate(net, x)
    return _together((query @ key.transpose(-2, -1) * SIZE**-0.5).softmax(-1) @ value)


def _einsum(net: Net, x: Tensor) -> Tensor:
    query, key, value = (part(x).unflatten(-1, (HEADS, SIZE)) for part in (net.query, net.key, net.value))
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key).div(SIZE**0.5).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, value).flatten(2)


def _folded(net: Net, x: Tensor) -> Tensor:
    """Heads folded into the batch."""
    query, key, value = (part.reshape(-1, x.shape[1], SIZE) for part in _separate(net, x))
    mixed = torch.bmm((torch.bmm(query, key.transpose(1, 2)) * SIZE**-0.5).softmax(-1), value)
    return _together(mixed.view(-1, HEADS, x.shape[1], SIZE))


def _folded_convolution(net: Net, x: Tensor) -> Tensor:
    """MViT's pooling: a depthwise convolution, the same for every head, with the heads in the batch."""
    query, key, value = _separate(net, x)
    pooled = net.pool(key.reshape(-1, x.shape[1], SIZE).transpose(1, 2)).transpose(1, 2)
    key = pooled.reshape(-1, HEADS, x.shape[1], SIZE)
    return _together(functional.scaled_dot_product_attention(query, key, value))


def _single(net: Net, x: Tensor) -> Tensor:
    """One head: its size shrinks, and the scale must not."""
    return functional.scaled_dot_product_attention(net.query(x), net.key(x), net.value(x))


def _single_fused(net: Net, x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(*net.qkv(x).chunk(3, dim=-1))


def _talking(net: Net, x: Tensor) -> Tensor:
    """Scores are mixed across heads: those that score and those that are weighted are no longer the same."""
    query, key, value = _separate(net, x)
    scores = net.talk((query @ key.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return _together(scores.softmax(-1) @ value)


def _normed(net: Net, x: Tensor) -> Tensor:
    query, key, value = _separate(net, x)
    return _together(functional.scaled_dot_product_attention(net.norm_q(query), net.norm_k(key), value))


def _causal(net: Net, x: Tensor) -> Tensor:
    """A mask of full size, expanded over heads, is added to the scores."""
    query, key, value = _separate(net, x)
    allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    mask = torch.zeros(x.shape[1], x.shape[1]).masked_fill(~allowed, -1e4).expand(x.shape[0], HEADS, -1, -1)
    return _together((query @ key.transpose(-2, -1) * SIZE**-0.5 + mask).softmax(-1) @ value)


def _relative(net: Net, x: Tensor) -> Tensor:
    """Swin's bias: rows of a table, one column for each head."""
    query, key, value = _separate(net, x)
    bias = net.table[net.index.view(-1)].view(5, 5, HEADS).permute(2, 0, 1).contiguous().unsqueeze(0)
    return _together((query * SIZE**-0.5 @ key.transpose(-2, -1) + bias).softmax(-1) @ value)


def _buckets(net: Net, x: Tensor) -> Tensor:
    """T5's bias: an embedding of the clipped distance."""
    query, key, value = _separate(net, x)
    place = torch.arange(x.shape[1])
    bias = net.bias((place[None] - place[:, None]).clamp(-2, 2) + 2).permute(2, 0, 1)[None]
    return _together((query @ key.transpose(-2, -1) + bias).softmax(-1) @ value)


def _grouped(net: Net, x: Tensor, repeat: Callable[[Tensor], Tensor]) -> Tensor:
    query, key, value = _apart(net.query(x), 4), _apart(net.key(x), 2), _apart(net.value(x), 2)
    return _together(functional.scaled_dot_product_attention(query, repeat(key), repeat(value)))


def _by_expanding(x: Tensor) -> Tensor:
    batch, heads, tokens, size = x.shape
    return x[:, :, None].expand(batch, heads, 2, tokens, size).reshape(batch, heads * 2, tokens, size)


def _grouped_flag(net: Net, x: Tensor) -> Tensor:
    query, key, value = _apart(net.query(x), 4), _apart(net.key(x), 2), _apart(net.value(x), 2)
    return _together(functional.scaled_dot_product_attention(query, key, value, enable_gqa=True))


def _turned(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat([-right, left], -1)


def _turned_pairs(x: Tensor) -> Tensor:
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


def _rotary(net: Net, x: Tensor, turned: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]) -> Tensor:
    """Angles computed from a buffer of frequencies, as Llama does; grouped-query."""
    angles = join(torch.arange(x.shape[1])[:, None] * net.frequencies)
    query, key, value = _apart(net.query(x), 4), _apart(net.key(x), 2), _apart(net.value(x), 2)
    query, key = (part * angles.cos() + turned(part) * angles.sin() for part in (query, key))
    return _together(functional.scaled_dot_product_attention(query, _by_expanding(key), _by_expanding(value)))


def _qkv(attend: Callable[[Net, Tensor], Tensor], width: int = WIDTH) -> Callable[[], Net]:
    return lambda: Net(
        lambda net, x: _block(net, x, attend), embed=nn.Linear(6, 8), qkv=nn.Linear(8, 3 * width),
        out=nn.Linear(width, 8), head=nn.Linear(8, 4),
    )  # fmt: skip


def _parts(attend: Callable[[Net, Tensor], Tensor], narrow: int = WIDTH, wide: int = WIDTH, **more: object) -> Net:
    return Net(
        lambda net, x: _block(net, x, attend), embed=nn.Linear(6, 8), query=nn.Linear(8, wide),
        key=nn.Linear(8, narrow), value=nn.Linear(8, narrow), out=nn.Linear(wide, 8), head=nn.Linear(8, 4), **more,
    )  # fmt: skip


def _plain(attend: Callable[[Net, Tensor], Tensor], **more: object) -> Callable[[], Net]:
    return lambda: _parts(attend, **more)


def _rotating(turned: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]) -> Callable[[], Net]:
    frequencies = torch.tensor([1.0, 0.3])
    return lambda: _parts(lambda net, x: _rotary(net, x, turned, join), 8, 16, frequencies=frequencies)


MULTIHEAD = {"head": [3], "neuron": [8]}
SHARED = {"head": [2], "neuron": [8]}
DISTANCES = (torch.arange(5)[:, None] - torch.arange(5)) % 9

CASES = {
    "fused qkv, (3, heads, size)": Case(_qkv(_fused), TOKENS, MULTIHEAD),
    "fused qkv, split in three": Case(_qkv(_fused_split), TOKENS, MULTIHEAD),
    "fused qkv, (heads, 3 * size)": Case(_qkv(_fused_inside_heads), TOKENS, MULTIHEAD),
    "fused qkv, one head": Case(_qkv(_single_fused, 6), TOKENS, {"neuron": [8, 12]}),
    "separate qkv, varying number of tokens": Case(_plain(_operator), TOKENS, MULTIHEAD, varying=({1: "tokens"},)),
    "matmul and softmax": Case(_plain(_explicit), TOKENS, MULTIHEAD, varying=({1: "tokens"},)),
    "einsum": Case(_plain(_einsum), TOKENS, MULTIHEAD),
    "heads in the batch": Case(_plain(_folded), TOKENS, MULTIHEAD),
    "heads in the batch of a convolution": Case(
        _plain(_folded_convolution, pool=nn.Conv1d(SIZE, SIZE, 3, padding=1, groups=SIZE, bias=False)),
        TOKENS,
        MULTIHEAD,
    ),
    "one head": Case(_plain(_single), TOKENS, {"neuron": [8, 12, 12]}),
    "talking heads": Case(_plain(_talking, talk=nn.Linear(HEADS, HEADS)), TOKENS, {"head": [3, 3], "neuron": [8]}),
    "norms of query and key": Case(
        _plain(_normed, norm_q=nn.RMSNorm(SIZE), norm_k=nn.LayerNorm(SIZE)), TOKENS, MULTIHEAD
    ),
    "mask of full size": Case(_plain(_causal), TOKENS, MULTIHEAD),
    "relative positions in a table": Case(
        _plain(_relative, table=nn.Parameter(torch.linspace(-2, 2, 27).view(9, 3)), index=DISTANCES), TOKENS, MULTIHEAD
    ),
    "relative positions in an embedding": Case(_plain(_buckets, bias=nn.Embedding(5, HEADS)), TOKENS, MULTIHEAD),
    "grouped queries, expanded": Case(
        _plain(lambda net, x: _grouped(net, x, _by_expanding), narrow=8, wide=16), TOKENS, SHARED
    ),
    "grouped queries, repeated": Case(
        _plain(lambda net, x: _grouped(net, x, lambda part: part.repeat_interleave(2, 1)), narrow=8, wide=16),
        TOKENS,
        SHARED,
    ),
    "grouped queries, by the operator": Case(_plain(_grouped_flag, narrow=8, wide=16), TOKENS, SHARED),
    "rotary, halves": Case(_rotating(_turned, lambda x: torch.cat([x, x], -1)), TOKENS, SHARED),
    "rotary, pairs": Case(_rotating(_turned_pairs, lambda x: x.repeat_interleave(2, -1)), TOKENS, SHARED),
}  # fmt: skip
