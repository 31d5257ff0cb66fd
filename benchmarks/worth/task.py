"""One of the networks on one of the data sets under one seed, and its folder, where everything that is made is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.worth import images, networks
from benchmarks.worth.dense import Dense
from benchmarks.worth.recipes import RECIPES, Recipe

CACHE = Path(__file__).parents[1] / ".cache" / "structured"
TERMS = [Path(__file__).with_name(f"{name}.py") for name in ("recipes", "dense", "training", "peer", "theirs")]
"""What decides on an outcome, besides the dense network and our service."""


@dataclass(frozen=True)
class Task:
    """`trial`: for choosing a recipe, without the test images."""

    images: str
    network: str
    seed: int
    trial: bool = False

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return RECIPES[self.images, self.network]

    @property
    def data(self) -> Path:
        """The folder of the data set; its name changes with what is made of the images."""
        return CACHE / f"{self.images}{'-trial' if self.trial else ''}-{digest(images)}"

    def part(self, name: str) -> Path:
        """One file of the data set."""
        return self.data / f"{name}.safetensors"

    @property
    def folder(self) -> Path:
        """The folder of the task; its name changes with how the dense network is made."""
        return self.data / f"{self.network}-{self.seed}-{digest(networks, repr(self.recipe.dense))}"

    def outcome(self, side: str) -> Path:
        """Where the outcome of a side is kept; its name changes with the terms of both sides."""
        terms = b"".join(path.read_bytes() for path in TERMS) + version("torch_pruning").encode()
        return self.folder / f"{side}-{hashlib.sha256(terms).hexdigest()[:8]}.json"

    @property
    def example(self) -> Tensor:
        """One image."""
        return torch.zeros(1, 1, *2 * [images.SOURCES[self.images].size])

    @property
    def dense(self) -> Dense:
        """The network that is pruned."""
        return Dense(self.folder, networks.NETWORKS[self.images, self.network], self.example)

    def prepare(self) -> None:
        """Train the dense network, where that is not done yet."""
        self.dense.prepare(self.part("train"), self.recipe.dense, self.seed)


@cache
def digest(module: ModuleType, more: str = "") -> str:
    """Of the module's source and of what else decides."""
    source = Path(module.__file__ or "").read_bytes()
    return hashlib.sha256(source + more.encode()).hexdigest()[:8]
