"""A hand-made net, with what theory says about its units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 3


class Net(nn.Module):
    """Layers, parameters and buffers under their names, and a function of them and the inputs."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@dataclass(frozen=True)
class Case:
    """A net and what must be found in it, written down from theory.

    `groups` holds for each kind the sizes of its groups. `frozen` holds pairs of patterns: the node that must be named,
    and a "parameter:axis" that it must be said to freeze. `varying` names the axes beside the batch that vary, for each
    input. `exact` says that no statistic (norm, mean, variance) runs across units, so that zeros in the parameters of
    the dense net do the same as taking its units out.
    """

    module: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...]
    groups: Mapping[str, list[int]]
    frozen: tuple[tuple[str, str], ...] = ()
    varying: tuple[Mapping[int, str], ...] = ()
    exact: bool = True
    kept: Mapping[str, int] = field(default_factory=dict)
    """Axes, as "parameter:axis", that must be as long after any removal."""

    def redrawn(self) -> nn.Module:
        """The module in evaluation mode, its parameters and statistics drawn so that activations are of order one."""
        module = self.module().eval()
        generator = torch.Generator().manual_seed(7)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                _redraw(name, tensor.data, generator)
        return module

    def exported(self) -> torch.export.ExportedProgram:
        """The net as its user would export it."""
        dims: dict[str, Any] = {"batch": torch.export.Dim("batch", min=1, max=64)}
        dims |= {name: torch.export.Dim(name, min=3, max=64) for axes in self.varying for name in axes.values()}
        varying = self.varying or ({},) * len(self.inputs)
        sizes = tuple({0: dims["batch"], **{axis: dims[name] for axis, name in axes.items()}} for axes in varying)
        module = self.redrawn()
        shapes = (sizes,) if isinstance(module, Net) else sizes  # a Net takes *inputs
        return torch.export.export(module, self.inputs, dynamic_shapes=shapes)


def _redraw(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
        tensor.copy_(1 + 0.2 * noise.clamp(-2, 2))
    elif tensor.dim() > 1:
        tensor.copy_(1.5 * noise / max(1, tensor[0].numel()) ** 0.5)
    else:
        tensor.copy_(0.5 * noise)


def floats(*shape: int, seed: int = 0) -> Tensor:
    """A batch of normal numbers."""
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(seed))


def integers(rows: int, *shape: int, seed: int = 0) -> Tensor:
    """A batch of indices below `rows`."""
    return torch.randint(0, rows, (BATCH, *shape), generator=torch.Generator().manual_seed(seed))


def conv(inputs: int, outputs: int, kernel: int = 3, **more: Any) -> nn.Conv2d:
    """A convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **more)


def pooled(channels: int, outputs: int = 4) -> nn.Sequential:
    """Mean over the image, and a linear layer whose outputs are the network's."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
