"""Random numbers that depend on a seed and a name alone, never on what was drawn before."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, name: str) -> torch.Generator:
    """Of the CPU, so that what it draws is the same for every device."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def permuted(tensor: torch.Tensor, drawn_from: torch.Generator) -> torch.Tensor:
    """The entries of a tensor in a random order, in the same shape."""
    order = torch.randperm(tensor.numel(), generator=drawn_from).to(tensor.device)
    return tensor.flatten()[order].view(tensor.shape)
