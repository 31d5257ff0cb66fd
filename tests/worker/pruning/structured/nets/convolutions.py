"""Convolutions of every kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)


def _chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def _residual(net: Net, x: Tensor) -> Tensor:
    x = torch.relu(net.stem(x))
    return net.head(torch.relu(x + net.norm(net.out(torch.relu(net.inner(x))))))


def _option_a(net: Net, x: Tensor) -> Tensor:
    """The shortcut of the CIFAR ResNets: every second pixel, and channels of zeros before and behind."""
    x = torch.relu(net.stem(x))
    short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    return net.head(torch.relu(short + net.out(torch.relu(net.inner(x)))))


def _dense(net: Net, x: Tensor) -> Tensor:
    first = net.first(x)
    second = net.second(torch.relu(first))
    third = net.third(torch.relu(torch.cat([first, second], 1)))
    return net.head(torch.relu(net.norm(torch.cat([first, second, third], 1))))


def _beside_image(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.mix(torch.cat([x, torch.relu(net.stem(x))], 1))))


def _squeeze(net: Net, x: Tensor) -> Tensor:
    x = functional.silu(net.norm(net.stem(x)))
    gate = torch.sigmoid(net.up(functional.silu(net.down(x.mean((2, 3), keepdim=True)))))
    return net.head(x * gate)


def _selective(net: Net, x: Tensor) -> Tensor:
    """Selective kernels: two branches, weighted by a softmax across them."""
    both = torch.stack([torch.relu(net.small(x)), torch.relu(net.large(x))], 1)
    weights = net.up(functional.silu(net.down(both.sum(1).mean((2, 3), keepdim=True))))
    return net.head((both * weights.view(-1, 2, 8, 1, 1).softmax(1)).sum(1))


def _unet(net: Net, x: Tensor) -> Tensor:
    skip = torch.relu(net.stem(x))
    deep = torch.relu(net.down(functional.max_pool2d(skip, 2)))
    return net.out(torch.cat([skip, functional.interpolate(net.up(deep), scale_factor=1.0)], 1))


def _spatial(net: Net, x: Tensor) -> Tensor:
    """CBAM's attention over the image: mean and largest over the channels, one channel out."""
    x = torch.relu(net.stem(x))
    seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return net.head(torch.relu(net.out(x * torch.sigmoid(net.look(seen)))))


def _unfolded(net: Net, x: Tensor) -> Tensor:
    patches = functional.unfold(torch.relu(net.stem(x)), 3, stride=3)
    return net.head(torch.relu(net.mix(patches.transpose(1, 2))).mean(1))


def _coordinates(net: Net, x: Tensor) -> Tensor:
    """Coordinates that the graph computes, as two more channels."""
    line = torch.linspace(-1, 1, 6)
    grid = torch.stack([line[:, None].expand(6, 6), line[None].expand(6, 6)])
    x = torch.cat([torch.relu(net.stem(x)), grid[None].expand(x.shape[0], -1, -1, -1)], 1)
    return net.head(torch.relu(net.out(x)))


def _transposed_groups(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.relu(net.up(torch.relu(net.stem(x)))))


CASES = {
    "convolutions with batch norm": Case(
        lambda: _chain(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 5, bias=False), nn.ReLU6(), pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
    ),
    "convolutions over sequences": Case(
        lambda: _chain(nn.Conv1d(3, 6, 3), nn.GELU(), nn.Conv1d(6, 5, 1), nn.Flatten(), nn.Linear(25, 4)),
        (floats(3, 7),),
        {"channel": [5, 6]},
    ),
    "convolutions over volumes": Case(
        lambda: _chain(nn.Conv3d(2, 6, 2), nn.MaxPool3d(2), nn.Conv3d(6, 5, 1), nn.Flatten(), nn.Linear(5, 4)),
        (floats(2, 3, 3, 3),),
        {"channel": [5, 6]},
    ),
    "flatten gives a channel several columns": Case(
        lambda: _chain(
            conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10), nn.Tanh(), nn.Linear(10, 4)
        ),
        IMAGE,
        {"channel": [4], "neuron": [10]},
    ),
    "depthwise": Case(
        lambda: _chain(conv(3, 8), nn.Hardswish(), conv(8, 8, groups=8), nn.BatchNorm2d(8), conv(8, 5, 1), pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
    ),
    "depthwise with a multiplier": Case(
        lambda: _chain(conv(3, 6), nn.ReLU(), conv(6, 12, groups=6), nn.ReLU(), conv(12, 5, 1), pooled(5)),
        IMAGE,
        {"channel": [5, 6]},
    ),
    "grouped, the group is the unit": Case(
        lambda: _chain(conv(3, 8), nn.ReLU(), conv(8, 12, groups=4), nn.ReLU(), conv(12, 5, 1), pooled(5)),
        IMAGE,
        {"channel": [4, 5]},
    ),
    "grouped, the unit is an index in every group": Case(
        lambda: _chain(conv(3, 12), nn.ReLU(), conv(12, 8, groups=2), nn.ReLU(), conv(8, 5, 1), pooled(5)),
        IMAGE,
        {"channel": [4, 5, 6]},
    ),
    "transposed": Case(
        lambda: _chain(conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ReLU(), conv(6, 5), pooled(5)),
        IMAGE,
        {"channel": [5, 6, 8]},
    ),
    "transposed, the group is the unit": Case(
        lambda: _chain(
            conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 12, 2, groups=4), nn.ReLU(), conv(12, 5), pooled(5)
        ),
        IMAGE,
        {"channel": [4, 5]},
    ),
    "residual stream": Case(
        lambda: Net(
            _residual, stem=conv(3, 8), inner=conv(8, 6), out=conv(6, 8), norm=nn.BatchNorm2d(8), head=pooled(8)
        ),
        IMAGE,
        {"channel": [6, 8]},
    ),
    "shortcut padded with zeros": Case(
        lambda: Net(_option_a, stem=conv(3, 4), inner=conv(4, 6, stride=2), out=conv(6, 8), head=pooled(8)),
        IMAGE,
        {"channel": [4, 4, 6]},
    ),
    "dense concatenation": Case(
        lambda: Net(
            _dense, first=conv(3, 4), second=conv(4, 5), third=conv(9, 6), norm=nn.BatchNorm2d(15), head=pooled(15)
        ),
        IMAGE,
        {"channel": [4, 5, 6]},
    ),
    "concatenation with the image": Case(
        lambda: Net(_beside_image, stem=conv(3, 6), mix=conv(9, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5, 6]},
    ),
    "squeeze and excite": Case(
        lambda: Net(
            _squeeze, stem=conv(3, 8), norm=nn.BatchNorm2d(8), down=conv(8, 3, 1), up=conv(3, 8, 1), head=pooled(8)
        ),
        IMAGE,
        {"channel": [3, 8]},
    ),
    "selective kernels": Case(
        lambda: Net(
            _selective, small=conv(3, 8), large=conv(3, 8, 5), down=conv(8, 3, 1), up=conv(3, 16, 1), head=pooled(8)
        ),
        IMAGE,
        {"channel": [3, 8]},
    ),
    "skip over a transposed convolution": Case(
        lambda: Net(_unet, stem=conv(3, 5), down=conv(5, 7), up=nn.ConvTranspose2d(7, 6, 2, stride=2), out=conv(11, 2)),
        IMAGE,
        {"channel": [5, 6, 7]},
        kept={"out.weight:0": 2},
    ),
    "attention over the image": Case(
        lambda: Net(_spatial, stem=conv(3, 8), look=conv(2, 1), out=conv(8, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
        exact=False,
        kept={"look.weight:0": 1, "look.weight:1": 2},
    ),
    "unfolded patches": Case(
        lambda: Net(_unfolded, stem=conv(3, 4), mix=nn.Linear(36, 6), head=nn.Linear(6, 4)),
        IMAGE,
        {"channel": [4], "neuron": [6]},
    ),
    "coordinates as channels": Case(
        lambda: Net(_coordinates, stem=conv(3, 6), out=conv(8, 5), head=pooled(5)), IMAGE, {"channel": [5, 6]}
    ),
    "transposed, the unit is an index in every group": Case(
        lambda: Net(_transposed_groups, stem=conv(3, 12), up=nn.ConvTranspose2d(12, 8, 2, groups=2), head=pooled(8)),
        IMAGE,
        {"channel": [4, 6]},
    ),
}
