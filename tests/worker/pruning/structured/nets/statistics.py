"""Norms and other statistics: along units, beside them, in groups of them, of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.worker.pruning.structured.case import Case, Net, conv, floats, pooled

IMAGE = (floats(3, 6, 6),)
TOKENS = (floats(4, 5),)


class Standardized(nn.Conv2d):
    """Weight standardization, written as NFNet does: a batch norm of the weight in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        weight = functional.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None, training=True, momentum=0.0, eps=1e-6
        )
        return functional.conv2d(x, weight.reshape_as(self.weight), self.bias, padding=1)


class ByHand(nn.Conv2d):
    """Weight standardization by mean and variance."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, correction=0)
        return functional.conv2d(x, (self.weight - mean) * torch.rsqrt(variance + 1e-6), self.bias, padding=1)


def _rms(net: Net, x: Tensor) -> Tensor:
    """Llama's norm, written out."""
    x = net.embed(x)
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * net.weight
    return net.head(torch.relu(net.inner(x)).mean(1))


def _channels_last(net: Net, x: Tensor) -> Tensor:
    """ConvNeXt's norm over channels, between two permutations."""
    x = net.norm(net.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return net.head(torch.relu(net.out(x)))


def _response(net: Net, x: Tensor) -> Tensor:
    """ConvNeXt v2's global response norm: lengths over the image, divided by their mean over the channels."""
    x = torch.relu(net.stem(x))
    length = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    response = length / (length.mean(1, keepdim=True) + 1e-6)
    return net.head(x + net.bias + net.weight * (x * response))


def _between(norm: nn.Module, channels: int = 8) -> nn.Sequential:
    return nn.Sequential(conv(3, channels), norm, nn.ReLU(), conv(channels, 5), nn.ReLU(), pooled(5))


def _weight_norm() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(conv(3, 8)), nn.ReLU(), parametrizations.weight_norm(conv(8, 5)), pooled(5)
    )


CASES = {
    "group norm, one group": Case(lambda: _between(nn.GroupNorm(1, 8)), IMAGE, {"channel": [5, 8]}, exact=False),
    "group norm, few large groups": Case(
        lambda: _between(nn.GroupNorm(2, 12), 12), IMAGE, {"channel": [5, 6]}, exact=False
    ),
    "group norm, many small groups": Case(lambda: _between(nn.GroupNorm(6, 12), 12), IMAGE, {"channel": [5, 6]}),
    "instance norm": Case(
        lambda: _between(nn.InstanceNorm2d(8, affine=True)), IMAGE, {"channel": [5, 8]}
    ),
    "layer norm over the image": Case(
        lambda: _between(nn.LayerNorm([8, 6, 6])), IMAGE, {"channel": [5, 8]}, exact=False,
        kept={"1.weight:1": 6, "1.weight:2": 6},
    ),
    "layer norm of channels": Case(
        lambda: Net(_channels_last, stem=conv(3, 8), norm=nn.LayerNorm(8), out=conv(8, 5), head=pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
        exact=False,
    ),
    "rms norm by hand": Case(
        lambda: Net(
            _rms, embed=nn.Linear(5, 8), weight=nn.Parameter(torch.ones(8)), inner=nn.Linear(8, 6), head=nn.Linear(6, 4)
        ),
        TOKENS,
        {"neuron": [6, 8]},
        exact=False,
    ),
    "rms norm by the operator": Case(
        lambda: nn.Sequential(nn.Linear(5, 8), nn.RMSNorm(8), nn.Linear(8, 4)),
        (floats(5),),
        {"neuron": [8]},
        exact=False,
    ),
    "global response norm": Case(
        lambda: Net(
            _response, stem=conv(3, 8), weight=nn.Parameter(torch.ones(1, 8, 1, 1)),
            bias=nn.Parameter(torch.ones(1, 8, 1, 1)), head=pooled(8),
        ),
        IMAGE,
        {"channel": [8]},
        exact=False,
    ),
    "weight norm": Case(_weight_norm, IMAGE, {"channel": [5, 8]}, exact=False),
    "weight standardization as a batch norm": Case(
        lambda: nn.Sequential(conv(3, 8), nn.ReLU(), Standardized(8, 5, 3), nn.ReLU(), pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
        exact=False,
    ),
    "weight standardization by hand": Case(
        lambda: nn.Sequential(conv(3, 8), nn.ReLU(), ByHand(8, 5, 3), nn.ReLU(), pooled(5)),
        IMAGE,
        {"channel": [5, 8]},
        exact=False,
    ),
}  # fmt: skip
