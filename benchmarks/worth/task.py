"""One of the networks on one of the data sets under one seed, and its folder, where everything that is made is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmarks.worth import images, networks, training
from benchmarks.worth.recipes import RECIPES, Recipe

CACHE = Path(__file__).parents[1] / ".cache" / "structured"
TERMS = [Path(__file__).with_name(f"{name}.py") for name in ("recipes", "training", "peer", "theirs")]
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
        return CACHE / f"{self.images}{'-trial' if self.trial else ''}-{_digest(images)}"

    def part(self, name: str) -> Path:
        """One file of the data set."""
        return self.data / f"{name}.safetensors"

    @property
    def folder(self) -> Path:
        """The folder of the task; its name changes with how the dense network is made."""
        return self.data / f"{self.network}-{self.seed}-{_digest(networks, repr(self.recipe.dense))}"

    def outcome(self, side: str) -> Path:
        """Where the outcome of a side is kept; its name changes with the terms of both sides."""
        terms = b"".join(path.read_bytes() for path in TERMS) + version("torch_pruning").encode()
        return self.folder / f"{side}-{hashlib.sha256(terms).hexdigest()[:8]}.json"

    @property
    def example(self) -> Tensor:
        """One image."""
        return torch.zeros(1, 1, *2 * [images.SOURCES[self.images].size])

    def prepare(self) -> None:
        """Train the dense network and write it as a program, where that is not done yet."""
        if (self.folder / "dense.pt2").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        network = self._network()
        on = training.course(self.part("train"), self.recipe.dense, self.seed)
        training.train(network, on, 0, self.recipe.dense.epochs)
        torch.save(network.state_dict(), self.folder / "dense.pt")
        self.export(network, "dense")

    def dense(self) -> nn.Module:
        """The trained network."""
        network = self._network()
        network.load_state_dict(torch.load(self.folder / "dense.pt", weights_only=True))
        return network.eval()

    def export(self, network: nn.Module, name: str) -> Path:
        """Write the network as a program that takes any number of images."""
        path = self.folder / f"{name}.pt2"
        example = (self.example.expand(2, -1, -1, -1),)
        exported = torch.export.export(network.eval(), example, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        torch.export.save(exported, unfinished := path.with_suffix(".part.pt2"))
        return unfinished.replace(path)

    def _network(self) -> nn.Module:
        return networks.NETWORKS[self.images, self.network]()


@cache
def _digest(module: ModuleType, more: str = "") -> str:
    source = Path(module.__file__ or "").read_bytes()
    return hashlib.sha256(source + more.encode()).hexdigest()[:8]
