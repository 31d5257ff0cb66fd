"""A batch size that was fixed by accident becomes free, and one that matters is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import FixedBatch, ProgramFails, UnsupportedStructure
from tests.worker.program.attacks import MODEL, edited, rewrite
from worker.program.reader import read
from worker.program.writer import write

Export = Callable[..., Path]


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 2, 3)
        self.head = nn.Linear(2 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu().flatten(1))


class ViewBySize(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu().view(x.size(0), -1))


class Windows(Flat):
    """The batch times the windows along one axis, as in Swin."""

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        cut = self.body(x).view(n, 2, 2, 2).permute(0, 2, 3, 1).reshape(n * 4, 2)
        return self.head(cut.relu().reshape(n, 8))


class ManyTwos(nn.Module):
    """Sizes of 1 and 2 that are no batch, beside those that are."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.pair = nn.Parameter(torch.randn(2, 1, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(0)
        x = torch.cat([self.token.expand(n, 1, 4), x.view(n, 2, 4), torch.zeros(n, 1, 4)], 1)
        x = self.attention(x, x, x, need_weights=False)[0]
        return x[torch.arange(n), 1] + self.pair.view(2, 4).sum(0) + self.pair.expand(2, 1, 4).mean((0, 1))


class Centered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Neighbours(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x.roll(1, 0)


class Summed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum()


IMAGE = (1, 4, 4)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize(("net", "shape"), [(Flat, IMAGE), (ViewBySize, IMAGE), (Windows, IMAGE), (ManyTwos, (2, 4))])
def test_a_fixed_batch_becomes_free(net: type[nn.Module], shape: tuple[int, ...], batch: int, export: Export) -> None:
    module = net().eval()
    program = read(export(module, [torch.randn(batch, *shape)], fixed=True))
    assert program.batch_kind == "made_dynamic"
    assert program.inputs[0].shape == ("batch", *shape)
    assert any(f"batches of {batch}" in note for note in program.notes)
    for other in (1, 2, 3, 7):
        given = torch.randn(other, *shape)
        assert torch.allclose(program(given), module(given), atol=1e-6)


@pytest.mark.parametrize("net", [Centered, Neighbours, Summed])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_network_that_mixes_examples_is_refused(net: type[nn.Module], batch: int, export: Export) -> None:
    with pytest.raises(FixedBatch) as caught:
        read(export(net(), [torch.randn(batch, 5)], fixed=True))
    assert "torch.export.Dim" in str(caught.value.remedy)


@pytest.mark.parametrize("dim", [torch.export.Dim.AUTO, torch.export.Dim.DYNAMIC])
def test_one_example_alone_is_allowed_where_it_agrees(dim: object, tmp_path: Path) -> None:
    for net, shape, minimum in ((Flat, IMAGE, 1), (Centered, (5,), 2)):
        path = tmp_path / "model.pt2"
        exported = torch.export.export(net().eval(), (torch.randn(3, *shape),), dynamic_shapes=({0: dim},))
        torch.export.save(exported, path)
        program = read(path)
        assert program.sizes["batch"].minimum == minimum
        write(program, tmp_path / "out.pt2")
        assert read(tmp_path / "out.pt2").sizes["batch"].minimum == minimum


def test_a_network_that_does_not_run_at_all_is_said_to_fail(tmp_path: Path, export: Export) -> None:
    def wrong(model: dict[str, Any]) -> None:
        node = next(node for node in model["graph_module"]["graph"]["nodes"] if "flatten" in node["target"])
        node["inputs"][1]["arg"] = {"as_int": 9}

    path = export(Flat().eval(), [torch.randn(2, *IMAGE)], fixed=True)
    with pytest.raises(ProgramFails, match="2 examples"):
        read(rewrite(path, tmp_path / "wrong.pt2", {MODEL: edited(wrong)}))


def test_inputs_of_different_lengths_are_refused(export: Export) -> None:
    class Table(nn.Module):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return x @ table

    with pytest.raises(UnsupportedStructure, match="Axis 0"):
        read(export(Table(), [torch.randn(2, 3), torch.randn(3, 4)], fixed=True))
