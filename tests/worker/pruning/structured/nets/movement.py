"""Values that are moved: cut, joined, turned, shuffled, indexed, and written in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)
ROW = (floats(5),)


def _shuffle_unit(net: Net, x: Tensor) -> Tensor:
    """A unit of ShuffleNet v2, the shuffle written as views."""
    kept, changed = torch.relu(net.stem(x)).chunk(2, dim=1)
    x = torch.cat([kept, torch.relu(net.out(torch.relu(net.inner(changed))))], 1)
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
    left, right = x.chunk(2, dim=1)
    return net.head(torch.cat([left, torch.relu(net.last(right))], 1))


def _shuffle_operator(net: Net, x: Tensor) -> Tensor:
    x = functional.channel_shuffle(torch.relu(net.stem(x)), 2)
    return net.head(torch.relu(net.out(x)))


def _shuffle_twice(net: Net, x: Tensor) -> Tensor:
    x = functional.channel_shuffle(functional.channel_shuffle(torch.relu(net.stem(x)), 2), 4)
    return net.head(torch.relu(net.out(x.roll(1, 1).roll(-3, 1))))


def _split(net: Net, x: Tensor) -> Tensor:
    first, second, third = torch.relu(net.stem(x)).split([2, 4, 3], dim=1)
    return net.head(torch.cat([net.left(first), torch.tanh(third), net.right(second)], 1))


def _narrowed(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.cat([x[:, 5:], net.left(x[:, :5]), x[:, -2:]], 1))


def _strided(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(net.out(torch.cat([x[:, ::2], x[:, 1::2].exp()], 1))))


def _rolled(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.out(torch.roll(torch.relu(net.stem(x)), 3, dims=1))))


def _reordered(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(net.out(x[:, [3, 1, 0, 5, 2]])))


def _selected(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(net.out(x))) + x[:, 4].mean((1, 2))[:, None]


def _flipped(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.out(torch.relu(net.stem(x)).flip(1, 3))))


def _gathered(net: Net, x: Tensor) -> Tensor:
    """Pixels are gathered, the same for every channel: no units lie along the axis that is indexed."""
    x = torch.relu(net.stem(x)).flatten(2)
    picked = x.gather(2, net.order.expand(x.shape[0], x.shape[1], 4))
    return net.head(torch.relu(net.out(picked.unflatten(2, (2, 2)))))


def _written(net: Net, x: Tensor) -> Tensor:
    """A slice of a new tensor is written, and a slice of an activation added to in place."""
    x = torch.relu(net.stem(x))
    z = torch.zeros_like(x)
    z[:, :3] = net.left(x)
    z[:, 3:].add_(x[:, 3:])
    return net.head(torch.relu(net.out(z)))


def _copied(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.body(x))
    room = x.new_zeros(x.shape[0], 6)
    room.copy_(torch.tanh(net.inner(x)))
    return net.head(room)


def _token_added(net: Net, x: Tensor) -> Tensor:
    """A class token is put before the others, and the others alone are added to."""
    x = torch.cat([net.token.expand(x.shape[0], -1, -1), net.embed(x)], 1)
    x[:, 1:].add_(net.inner(torch.relu(net.outer(x[:, 1:]))))
    return net.head(x[:, 0] * x[:, 1:].mean(1))


def _pixels(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.out(functional.pixel_shuffle(torch.relu(net.stem(x)), 2))))


def _pixels_linear(net: Net, x: Tensor) -> Tensor:
    """No convolution or pool says that the pixels of a channel are one unit."""
    x = functional.pixel_shuffle(torch.tanh(net.stem(x)), 2).permute(0, 2, 3, 1)
    return net.head(torch.tanh(net.out(x)).mean((1, 2)))


def _pixels_back(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.out(functional.pixel_unshuffle(torch.relu(net.stem(x)), 2))))


def _to_image(net: Net, x: Tensor) -> Tensor:
    """A generator: a linear layer whose outputs are seen as channels of an image."""
    return net.head(torch.relu(net.out(torch.relu(net.body(x)).view(-1, 5, 2, 2))))


def _stacked(net: Net, x: Tensor) -> Tensor:
    left, right = torch.stack([net.left(x), torch.tanh(net.right(x))], 2).unbind(2)
    return net.head(left * right)


def _expanded(net: Net, x: Tensor) -> Tensor:
    """A row per example, expanded over tokens and added to each."""
    tokens = net.embed(x)
    return net.head(torch.relu(tokens + net.every(x.mean(1))[:, None].expand(-1, 4, -1)).mean(1))


def _repeated(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.body(x)).repeat(1, 3))


def _interleaved(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.body(x)).repeat_interleave(2, dim=1))


def _padded_image(net: Net, x: Tensor) -> Tensor:
    x = functional.pad(torch.relu(net.stem(x)), (1, 2, 0, 1))
    return net.head(torch.relu(net.out(functional.pad(x, (1, 1, 1, 1), mode="reflect"))))


def _like(net: Net, x: Tensor) -> Tensor:
    shape = net.other(x).unflatten(1, (6, 1, 1))
    return net.head(torch.relu(net.body(x)).view_as(shape).mul(shape).flatten(1))


def _shifted_windows(net: Net, x: Tensor) -> Tensor:
    """Swin's windows: the image is rolled, cut into windows, mixed inside them, put together and rolled back."""
    x = net.stem(x).permute(0, 2, 3, 1)
    moved = torch.roll(x, (-1, -1), (1, 2)).reshape(-1, 3, 2, 3, 2, 8)
    windows = moved.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 8)
    windows = windows + net.inner(torch.relu(net.outer(windows.mean(1, keepdim=True))))
    back = windows.view(-1, 3, 3, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, 6, 8)
    return net.head(torch.roll(back, (1, 1), (1, 2)).permute(0, 3, 1, 2))


def _images(function: object, stem: int, mixed: int, out: int = 5) -> Net:
    """A convolution to `stem` channels, and another one that finds `mixed`."""
    return Net(function, stem=conv(3, stem), out=conv(mixed, out), head=pooled(out))


CASES = {
    "channel shuffle as views": Case(
        lambda: Net(
            _shuffle_unit, stem=conv(3, 8), inner=conv(4, 6, 1), out=conv(6, 4), last=conv(4, 5), head=pooled(9)
        ),
        IMAGE,
        {"channel": [4, 5, 6, 8]},
    ),
    "channel shuffle as an operator": Case(lambda: _images(_shuffle_operator, 8, 8), IMAGE, {"channel": [5, 8]}),
    "two shuffles in a row": Case(lambda: _images(_shuffle_twice, 8, 8), IMAGE, {"channel": [5, 8]}),
    "split in unequal pieces": Case(
        lambda: Net(_split, stem=conv(3, 9), left=conv(2, 5), right=conv(4, 6), head=pooled(14)),
        IMAGE,
        {"channel": [5, 6, 9]},
    ),
    "slices that overlap": Case(
        lambda: Net(_narrowed, stem=conv(3, 9), left=conv(5, 4), head=pooled(10)), IMAGE, {"channel": [4, 9]}
    ),
    "every second channel": Case(lambda: _images(_strided, 8, 8), IMAGE, {"channel": [5, 8]}),
    "channels rolled": Case(lambda: _images(_rolled, 8, 8), IMAGE, {"channel": [5, 8]}),
    "channels put in another order": Case(lambda: _images(_reordered, 6, 5), IMAGE, {"channel": [5, 6]}),
    "one channel is taken out": Case(
        lambda: _images(_selected, 8, 8), IMAGE, {"channel": [5, 7]}, frozen=(("select*", "stem.weight:0"),)
    ),
    "channels flipped": Case(lambda: _images(_flipped, 8, 8), IMAGE, {"channel": [5, 8]}),
    "pixels gathered": Case(
        lambda: Net(_gathered, stem=conv(3, 8), out=conv(8, 5), order=torch.tensor([3, 0, 7, 7]), head=pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
    ),
    "a slice is written": Case(
        lambda: Net(_written, stem=conv(3, 8), left=conv(8, 3), out=conv(8, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
    ),
    "a copy into a new tensor": Case(
        lambda: Net(_copied, body=nn.Linear(5, 7), inner=nn.Linear(7, 6), head=nn.Linear(6, 4)),
        ROW,
        {"neuron": [6, 7]},
    ),
    "tokens added to beside a class token": Case(
        lambda: Net(
            _token_added, token=nn.Parameter(torch.ones(1, 1, 8)), embed=nn.Linear(5, 8), outer=nn.Linear(8, 6),
            inner=nn.Linear(6, 8), head=nn.Linear(8, 4),
        ),
        (floats(4, 5),),
        {"neuron": [6, 8]},
    ),
    "pixel shuffle": Case(lambda: _images(_pixels, 12, 3), IMAGE, {"channel": [3, 5]}),
    "pixels shuffled, then a linear layer": Case(
        lambda: Net(_pixels_linear, stem=conv(3, 12), out=nn.Linear(3, 6), head=nn.Linear(6, 4)),
        IMAGE,
        {"channel": [3], "neuron": [6]},
    ),
    "pixel unshuffle": Case(lambda: _images(_pixels_back, 4, 16), IMAGE, {"channel": [4, 5]}),
    "a linear layer seen as an image": Case(
        lambda: Net(_to_image, body=nn.Linear(5, 20), out=nn.Conv2d(5, 6, 1), head=pooled(6)),
        ROW,
        {"channel": [6], "neuron": [5]},
    ),
    "stacked and taken apart": Case(
        lambda: Net(_stacked, left=nn.Linear(5, 6), right=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}
    ),
    "a row expanded over tokens": Case(
        lambda: Net(_expanded, embed=nn.Linear(5, 6), every=nn.Linear(5, 6), head=nn.Linear(6, 4)),
        (floats(4, 5),),
        {"neuron": [6]},
    ),
    "repeated": Case(
        lambda: Net(_repeated, body=nn.Linear(5, 6), head=nn.Linear(18, 4)), ROW, {"neuron": [6]}
    ),
    "repeated one by one": Case(
        lambda: Net(_interleaved, body=nn.Linear(5, 6), head=nn.Linear(12, 4)), ROW, {"neuron": [6]}
    ),
    "images padded": Case(lambda: _images(_padded_image, 8, 8), IMAGE, {"channel": [5, 8]}),
    "viewed as another tensor": Case(
        lambda: Net(_like, body=nn.Linear(5, 6), other=nn.Linear(5, 6), head=nn.Linear(6, 4)), ROW, {"neuron": [6]}
    ),
    "shifted windows": Case(
        lambda: Net(_shifted_windows, stem=conv(3, 8), outer=nn.Linear(8, 6), inner=nn.Linear(6, 8), head=pooled(8)),
        IMAGE,
        {"channel": [8], "neuron": [6]},
    ),
}  # fmt: skip
