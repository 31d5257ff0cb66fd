"""Small programs with units taken out by the place of a parameter, without the choice that a job makes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from worker.program.operators import name
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.labels.spelling import argument

EXAMPLES = 4

Removed = Mapping[str, Sequence[int]]
"""The indices that go, under "parameter:axis"."""


class Net(nn.Module):
    """A function of its parts and the inputs."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.function = function
        for title, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, title, part)
            else:
                self.register_buffer(title, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def program_of(module: nn.Module, *inputs: Tensor) -> Program:
    """The module as it comes out of a user's file, with a batch that may vary."""
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = (tuple({0: batch} for _ in inputs),) if isinstance(module, Net) else tuple({0: batch} for _ in inputs)
    exported = torch.export.export(module.eval(), inputs, dynamic_shapes=shapes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload.pt2"
        torch.export.save(exported, path)
        return read(path)


def cut_of(program: Program, removed: Removed) -> tuple[Labelling, Cut]:
    """Labels the program and removes the units at these places, with everything that belongs to them."""
    lab = label(program)
    return lab, Cut(lab, flags(lab, removed))


def flags(lab: Labelling, removed: Removed) -> Tensor:
    """What a cut is made of, from places in parameters."""
    gone = torch.zeros(lab.count, dtype=torch.bool)
    for place, indices in removed.items():
        title, axis = place.split(":")
        node = next(node for node in lab.program.module.graph.nodes if node.op == "get_attr" and node.target == title)
        planes = [plane for plane in lab.planes(node) if plane.axes == {int(axis)}]
        assert planes, f"no units at {place}: {lab.frozen}"
        gone[planes[0].along(int(axis))[list(indices)]] = True
    assert not gone[0], f"frozen units in {removed}: {lab.frozen}"
    return gone


def calls(program: Program, called: str) -> list[fx.Node]:
    """The nodes that call an operator."""
    return [node for node in program.module.graph.nodes if name(node.target) == called]


def literals(program: Program, called: str, title: str) -> list[Any]:
    """What the calls of an operator are given for an argument; sizes that vary are "n"."""
    return [_plain(argument(node, title)) for node in calls(program, called)]


def _plain(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return "n"
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
