"""What one side made of a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from secateur.record import Record

Kind = TypeVar("Kind", bound=Record)


class Outcome(Record):
    """Accuracy on the test images, and the size of the network; MACs of one image."""

    dense: float
    one_shot: float
    pruned: float
    recovered: float
    dense_macs: int
    macs: int
    dense_parameters: int
    parameters: int

    @property
    def macs_left(self) -> float:
        """Share of the dense network's MACs."""
        return self.macs / self.dense_macs

    @property
    def parameters_left(self) -> float:
        """Share of the dense network's parameters."""
        return self.parameters / self.dense_parameters


def kept(path: Path, make: Callable[[], Kind], kind: type[Kind]) -> Kind:
    """What is written at `path`, or what `make` gives, which is written there then."""
    if not path.exists():
        unfinished = path.with_suffix(".part")
        unfinished.write_text(make().model_dump_json(indent=2), encoding="utf8")
        unfinished.replace(path)
    return kind.model_validate_json(path.read_text(encoding="utf8"))
