"""Well-known convolutional networks in small, with the number of units that their definitions give."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.zoo.subject import Build, Subject, of_images

CLASSES = 5


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and batch normalization."""
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outside))


def classifier(body: nn.Module, width: int) -> nn.Module:
    """The body, global pooling, and a linear layer."""
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


class Residual(nn.Module):
    """He et al. (2016): two or three convolutions and a way past them."""

    def __init__(self, inside: int, middle: int, outside: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inside, middle, 1), nn.ReLU(inplace=True),
            conv(middle, middle, 3, stride, groups), nn.ReLU(inplace=True), conv(middle, outside, 1),
        )  # fmt: skip
        self.past = conv(inside, outside, 1, stride) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.body(x) + self.past(x))


class Dense(nn.Module):
    """Huang et al. (2017): every layer sees the outputs of all before it."""

    def __init__(self, inside: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inside + i * growth), nn.ReLU(), conv(inside + i * growth, growth))
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)))
        return torch.cat(seen, 1)


class Inverted(nn.Module):
    """Howard et al. (2019): expand, depthwise, squeeze and excite, project."""

    def __init__(self, width: int, hidden: int, squeezed: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(conv(width, hidden, 1), nn.Hardswish(), conv(hidden, hidden, 3, groups=hidden))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(hidden, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, hidden, 1),
            nn.Hardsigmoid(),
        )  # fmt: skip
        self.project = conv(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.expand(x)
        return x + self.project(hidden * self.squeeze(hidden))


class Shuffled(nn.Module):
    """Ma et al. (2018): half of the channels pass by, then the halves are mixed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(conv(half, half, 1), nn.ReLU(), conv(half, half, groups=half), conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        past, rest = x.chunk(2, 1)
        joined = torch.cat([past, torch.relu(self.branch(rest))], 1)
        batch, channels, height, width = joined.shape
        return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, -1, height, width)


class Branches(nn.Module):
    """Szegedy et al. (2015): convolutions of several sizes side by side."""

    def __init__(self, inside: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        one, three, pooled = widths
        self.one = conv(inside, one, 1)
        self.three = nn.Sequential(conv(inside, three, 1), nn.ReLU(), conv(three, three, 3))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inside, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cat([self.one(x), self.three(x), self.pooled(x)], 1))


class Scaled(nn.Module):
    """Liu et al. (2022): ConvNeXt's block, channels last inside, with a layer scale of 1e-6."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * inner).permute(0, 3, 1, 2)


class Ladder(nn.Module):
    """Ronneberger et al. (2015): down, up by a transposed convolution, and joined with what was there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(conv(3, width), nn.ReLU())
        self.down = nn.Sequential(conv(width, 2 * width, 3, 2), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.last = nn.Sequential(conv(2 * width, width), nn.ReLU(), nn.Conv2d(width, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        early = self.first(x)
        return self.last(torch.cat([early, self.up(self.down(early))], 1))


def _zero_initialised() -> nn.Module:
    """A residual network whose branches and head give nothing at first."""
    block = Residual(8, 4, 8)
    last = block.body[4][1]
    net = classifier(nn.Sequential(conv(3, 8), block), 8)
    for parameter in (last.weight, net[3].weight, net[3].bias):
        nn.init.zeros_(parameter)
    return net


def _small(make: Callable[[], nn.Module]) -> Build:
    def build() -> Subject:
        return of_images(make(), 3, 16, 16)

    return build


MINIATURES: dict[str, tuple[Build, int]] = {
    "resnet": (_small(lambda: classifier(nn.Sequential(conv(3, 8), Residual(8, 4, 16, 2)), 16)), 8 + 4 + 4 + 16),
    "resnet, zero at first": (_small(_zero_initialised), 8 + 4 + 4),
    # a unit is a whole group of the grouped convolution, with what comes in and what goes out
    "resnext": (_small(lambda: classifier(nn.Sequential(conv(3, 8), Residual(8, 12, 16, 2, 6)), 16)), 8 + 6 + 16),
    "densenet": (_small(lambda: classifier(nn.Sequential(conv(3, 8), Dense(8, 4, 3)), 20)), 8 + 3 * 4),
    "mobilenet": (_small(lambda: classifier(nn.Sequential(conv(3, 8), Inverted(8, 24, 6)), 8)), 8 + 24 + 6),
    "shufflenet": (
        _small(lambda: classifier(nn.Sequential(conv(3, 16), Shuffled(16), Shuffled(16)), 16)),
        16 + 2 * (8 + 8),
    ),
    "inception": (_small(lambda: classifier(nn.Sequential(conv(3, 8), Branches(8, (4, 6, 3))), 13)), 8 + 4 + 6 + 6 + 3),
    "convnext": (_small(lambda: classifier(nn.Sequential(nn.Conv2d(3, 8, 4, 4), Scaled(8), Scaled(8)), 8)), 8 + 2 * 32),
    "unet": (_small(lambda: Ladder(8)), 8 + 16 + 8 + 8),
}
"""A builder and the number of units of each."""
