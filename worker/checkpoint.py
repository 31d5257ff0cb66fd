"""One file that a killed job goes on from: tensors and a JSON note, in safetensors, so that no pickle is ever read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

NOTE = "secateur"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors under dotted names, and what is not a tensor."""

    tensors: Mapping[str, torch.Tensor]
    note: dict[str, Any] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `prefix` and a slash, without it."""
        start = f"{prefix}/"
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def save(checkpoint: Checkpoint, path: Path) -> str:
    """Write the file so that it is there whole or not at all; its SHA-256."""
    temporary = path.with_suffix(".tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={NOTE: json.dumps(checkpoint.note)})
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
    return digest


def intact(path: Path, sha256: str | None) -> bool:
    """Whether the file is there and as it was written."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def load(path: Path) -> Checkpoint:
    """Read what `save` wrote."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Checkpoint(tensors, json.loads(file.metadata()[NOTE]))


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
