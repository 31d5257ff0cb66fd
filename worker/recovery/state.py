"""Where the training of a round stands: everything that it needs to go on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

SEPARATOR = "/"


@dataclass(frozen=True)
class TrainState:
    """Tensors and facts (JSON) of one moment between two steps.

    The tensors are the live ones where they can be: store them, as one safetensors file, before the next step.
    """

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]

    @property
    def round_index(self) -> int:
        """The round that it was taken in."""
        return int(self.facts["round"])

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `prefix` and a slash, without that."""
        start = prefix + SEPARATOR
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def pack(**parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All parts in one mapping, each tensor contiguous and owner of its memory, as safetensors wants them."""
    seen: set[int] = set()
    packed = {}
    for prefix, tensors in parts.items():
        for name, tensor in tensors.items():
            packed[f"{prefix}{SEPARATOR}{name}"] = _alone(tensor.detach(), seen)
    return packed


def moments_of(optimizer: Optimizer, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the optimizer remembers, as `parameter/key`."""
    return {
        f"{name}{SEPARATOR}{key}": value
        for name, weight in weights.items()
        for key, value in optimizer.state.get(weight, {}).items()
        if isinstance(value, torch.Tensor)
    }


def restore_moments(
    optimizer: Optimizer, weights: Mapping[str, torch.Tensor], moments: Mapping[str, torch.Tensor]
) -> None:
    """Gives an optimizer over the same weights its memory back."""
    for path, value in moments.items():
        name, key = path.rsplit(SEPARATOR, 1)
        place = value.device if key == "step" else weights[name].device
        optimizer.state[weights[name]][key] = value.to(place, copy=True)


def restore_tensors(live: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copies each saved tensor into the live one of its name."""
    with torch.no_grad():
        for name, tensor in saved.items():
            live[name].copy_(tensor)


def on_host(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies in the memory of the host, which nothing that happens to the tensors changes."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _alone(tensor: torch.Tensor, seen: set[int]) -> torch.Tensor:
    storage = tensor.untyped_storage()
    owner = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
    seen.add(storage.data_ptr())
    return tensor if owner else tensor.clone(memory_format=torch.contiguous_format)
