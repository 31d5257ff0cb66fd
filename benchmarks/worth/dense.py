"""A network before anything is taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.worth import training
from secateur.spec.recover import FineTune


@dataclass(frozen=True)
class Dense:
    """Trained once, and kept as a state dict and as a program in a folder of its own. `example` is one image."""

    folder: Path
    make: Callable[[], nn.Module]
    example: Tensor

    @property
    def program(self) -> Path:
        """The trained network as the service takes it."""
        return self.folder / "dense.pt2"

    def prepare(self, images: Path, spec: FineTune, seed: int) -> None:
        """Train it, where that is not done yet."""
        if self.program.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        network = self.make()
        training.train(network, training.course(images, spec, seed), 0, spec.epochs)
        torch.save(network.state_dict(), self.folder / "dense.pt")
        self.export(network, self.program.stem)

    def load(self) -> nn.Module:
        """The trained network."""
        network = self.make()
        network.load_state_dict(torch.load(self.folder / "dense.pt", weights_only=True))
        return network.eval()

    def export(self, network: nn.Module, name: str) -> Path:
        """Write the network as a program that takes any number of images."""
        path = self.folder / f"{name}.pt2"
        example = (self.example.expand(2, -1, -1, -1),)
        exported = torch.export.export(network.eval(), example, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        torch.export.save(exported, unfinished := path.with_suffix(".part.pt2"))
        return unfinished.replace(path)
