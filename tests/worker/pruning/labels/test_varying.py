"""Sizes that vary beside the batch: what holds at the probe only is neither a unit nor a constant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.labels.labelling import label
from worker.pruning.labels.rules.movement import VARYING
from worker.pruning.labels.values import Values

ROWS = 20


class Tokens(nn.Module):
    """Features of tokens, of which there may be up to ROWS, and a table that is computed for all of them."""

    def __init__(self, function: Callable[[Tokens, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.table, self.mapped = nn.Parameter(torch.randn(ROWS, 5)), nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(self.function(self, x))
        return result


def _upload(folder: Path, function: Callable[[Tokens, Tensor], Tensor]) -> Program:
    dims = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("length", min=4, max=ROWS)}
    path = folder / "tokens.pt2"
    torch.export.save(
        torch.export.export(Tokens(function).eval(), (torch.randn(3, 8, 6),), dynamic_shapes=(dims,)), path
    )
    return read(path)


TAKEN: dict[str, Callable[[Tokens, Tensor], Tensor]] = {
    "slice": lambda net, x: net.first(x) + net.mapped(net.table)[: x.shape[1]],
    "slice from the end": lambda net, x: net.first(x) + net.mapped(net.table)[-x.shape[1] :],
    "narrow": lambda net, x: net.first(x) + net.mapped(net.table).narrow(0, 0, x.shape[1]),
    "select": lambda net, x: net.first(x) + net.mapped(net.table).select(0, x.shape[1] - 1),
}


@pytest.mark.parametrize("name", TAKEN)
def test_rows_that_a_longer_input_takes_are_no_units(name: str, tmp_path: Path) -> None:
    frozen = {place: found.why for found in label(_upload(tmp_path, TAKEN[name])).frozen for place in found.parameters}
    assert frozen["table:0"] == VARYING
    assert "first.weight:0" not in frozen
    assert "table:1" not in frozen


def _interleaved(net: Tokens, x: Tensor) -> Tensor:
    both = torch.cat([net.first(x), net.first(-x)], 1)
    pairs = both.view(x.shape[0], 2, x.shape[1], 8).transpose(1, 2)
    result: Tensor = pairs.reshape(x.shape[0], 2 * x.shape[1], 8)
    return result


def _picked(net: Tokens, x: Tensor) -> Tensor:
    scores = net.mapped(torch.tanh(x[..., :5])) @ net.mapped(net.table).t()
    result: Tensor = scores[:, :, torch.arange(x.shape[1])].softmax(-1) @ net.first(x)
    return result


MOVED: dict[str, Callable[[Tokens, Tensor], Tensor]] = {
    "interleaved tokens": _interleaved,
    "indices that are counted": _picked,
    "rolled by the length": lambda net, x: net.first(x).roll(x.shape[1] - 3, 2),
}


@pytest.mark.parametrize("name", MOVED)
def test_movement_that_follows_a_size_is_no_constant(name: str, tmp_path: Path) -> None:
    program = _upload(tmp_path, MOVED[name])
    labelled = label(program).program
    (length,) = program.sizes.keys() - {"batch"}
    for size in (4, 13, ROWS):
        inputs = program.example({length: size})
        torch.testing.assert_close(labelled.run(*inputs), program.run(*inputs))


def test_an_alarm_in_the_midst_of_a_node_is_not_put_down_to_it(tmp_path: Path) -> None:
    program = _upload(tmp_path, _interleaved)

    def alarm(*_: object) -> None:
        raise TimeoutError

    for node in program.module.graph.nodes:
        if node.name.startswith("cat"):
            node.target = alarm
    with pytest.raises(TimeoutError):
        Values(program)
