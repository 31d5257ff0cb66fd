"""What a cell works on, and where all of it is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.accuracy import digits, recipes
from benchmarks.accuracy.cell import Cell
from benchmarks.worth import images, networks
from benchmarks.worth.dense import Dense
from benchmarks.worth.task import digest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "benchmarks" / ".cache" / "accuracy"
TERMS = [
    *(Path(__file__).with_name(f"{name}.py") for name in ("masked", "smaller", "service")),
    *(ROOT / "benchmarks" / "worth" / f"{name}.py" for name in ("dense", "training", "peer", "macs")),
]
"""What decides on an outcome, besides the dense network, the recipe and the service."""


@dataclass(frozen=True)
class Subject:
    """Of one cell."""

    cell: Cell

    @property
    def data(self) -> Path:
        """The folder of the data set; its name changes with what is made of the images."""
        return CACHE / f"digits-{digest(digits, digest(images) + repr(recipes.SIZES))}"

    def part(self, name: str) -> Path:
        """One file of the data set."""
        return self.data / f"{name}.safetensors"

    @property
    def reported(self) -> Path:
        """The images on which accuracy is reported."""
        return self.part(self.cell.on)

    @property
    def dense(self) -> Dense:
        """What is pruned; the name of its folder changes with how it is made."""
        make, spec = recipes.NETWORKS[self.cell.network], recipes.DENSE[self.cell.network]
        made = digest(networks, repr(make) + spec.model_dump_json() + torch.__version__)
        return Dense(self.data / f"{self.cell.network}-{self.cell.seed}-{made}", make, torch.zeros(1, 1, 28, 28))

    def prepare(self) -> None:
        """Train the dense network, where that is not done yet."""
        self.dense.prepare(self.part("train"), recipes.DENSE[self.cell.network], self.cell.seed)

    @property
    def path(self) -> Path:
        """Where the outcome is kept.

        The final table's changes with every line of the service, which trains the others as well; while recipes are
        chosen the service goes on, and `--again` does ours anew.
        """
        told = json.dumps([self.cell.method, self.cell.terms], sort_keys=True)
        service = _service() if self.cell.on == "test" else ""
        terms = hashlib.sha256((_sources(TERMS) + version("torch_pruning") + told + service).encode()).hexdigest()
        name = f"{self.cell.method}-{terms[:10]}.json".replace(" ", "-").lower()
        return self.dense.folder / self.cell.on / self.cell.point.key / name


def _sources(paths: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()


@cache
def _service() -> str:
    return _sources(sorted(path for part in ("secateur", "worker") for path in (ROOT / part).rglob("*.py")))
