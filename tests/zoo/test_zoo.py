"""A dozen small networks of different kinds lose half of their units, and what is left is proved; bad ones are told."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.zoo.redraw import redraw
from benchmarks.zoo.results import Results
from benchmarks.zoo.row import EXPORT_REFUSES, FAILS, PASSES, Finding, Row
from benchmarks.zoo.subject import Build, of_images
from benchmarks.zoo.transformers_models import transformers_models
from benchmarks.zoo.trial import attempt, check_outputs, half
from secateur.removal import kept_per_part
from secateur.units import Axis, ModelUnits, Part, Term, UnitGroup
from tests.zoo.miniatures import MINIATURES, Scaled, classifier
from worker.program.reader import read

TRANSFORMERS = {
    "bert": 64 + 2 * (128 + 4),
    "gpt2_any_length": 64 + 2 * (256 + 4),
    "llama": 64 + 2 * (112 + 4),  # four key-value heads for eight queries
    "t5_gated": 64 + 4 * 128 + 3 * 4,  # the layers of each attention share one table of positions, and so their heads
    "vit": 64 + 2 * (128 + 4),
    "clip": 2 * (64 + 2 * (128 + 4)),
}
ZOO: dict[str, tuple[Build, int]] = {
    **MINIATURES,
    **{name: (transformers_models()[f"transformers/{name}"], units) for name, units in TRANSFORMERS.items()},
}


def tried(build: Build, folder: Path, expected: int = 0) -> Row:
    """The row of a trial."""
    row = Row("here", expected=expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        attempt(row, build, folder, lambda _: None)
    return row


@pytest.mark.parametrize("name", ZOO)
def test_half_of_all_units_goes_and_the_rest_is_proved(name: str, tmp_path: Path) -> None:
    build, units = ZOO[name]
    row = tried(build, tmp_path, units)
    assert (row.verdict, row.cause) == (PASSES, "")
    assert row.units == units
    assert row.share >= 0.9
    assert row.parameters[1] < 0.6 * row.parameters[0]
    assert row.macs[1] < 0.6 * row.macs[0]


def test_too_few_units_fail(tmp_path: Path) -> None:
    build, units = MINIATURES["resnet"]
    row = tried(build, tmp_path, units + 1)
    assert (row.verdict, row.stage) == (FAILS, "units")
    assert f"{units + 1} are expected" in row.cause


class Branching(nn.Module):
    """Goes one way or the other by what it sees: nothing that can be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if bool(x.sum() > 0) else x


def test_what_export_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    row = tried(lambda: of_images(Branching(), 3, 8, 8), tmp_path)
    assert (row.verdict, row.stage) == (EXPORT_REFUSES, "export")
    assert "data-dependent" in row.cause


class Silent(nn.Module):
    """Its output does not depend on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x) * 0.0)).mean((2, 3))


def test_a_constant_output_fails(tmp_path: Path) -> None:
    row = tried(lambda: of_images(Silent(), 3, 8, 8), tmp_path)
    assert (row.verdict, row.cause) == (FAILS, "Finding: an output is constant")


def test_other_shapes_and_infinite_outputs_are_findings() -> None:
    with pytest.raises(Finding, match="shapes"):
        check_outputs([torch.rand(2, 3)], [torch.rand(2, 4)])
    with pytest.raises(Finding, match="finite"):
        check_outputs([torch.tensor([[1.0], [torch.inf]])], [torch.rand(2, 1)])


def test_redrawing_wakes_scales_of_a_millionth_and_heads_of_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = classifier(nn.Sequential(nn.Conv2d(3, 8, 4, 4), Scaled(8), nn.BatchNorm2d(8)), 8)
    nn.init.zeros_(net[3].weight)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(net.eval(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "model.pt2")
    program = read(tmp_path / "model.pt2")
    redraw(program)
    for name, parameter in program.named_parameters():
        assert 0.1 < float(parameter.detach().square().mean().sqrt()) < 3, name
        assert float(parameter.detach().std()) > 0.05, name
    with torch.no_grad():
        assert 0.1 < float(program(*program.example(16))[0].std()) < 10


def _units() -> ModelUnits:
    """Two groups of four; the last two units of each lie in one part that must not become empty."""
    common = {"kind": "channel", "size": 4, "share": 0.5, "parameters_per_unit": 1.0, "macs_per_unit": 1.0, "rows": 1.0}
    groups = (
        UnitGroup(name="a.weight", births=("a.weight",), tensors=("a.weight:0",), part=(0, 0, 1, 1), **common),
        UnitGroup(name="b.weight", births=("b.weight",), tensors=("b.weight:0",), part=(2, 2, 3, 3), **common),
    )
    parts = tuple(Part(group=index // 2, size=2) for index in range(4))
    terms = (Term(axes=(Axis(fixed=0, parts=((0, 1), (1, 1))),)),)
    return ModelUnits(groups=groups, parts=parts, parameters=terms, macs=terms, batch=1, occupied=((1,), (3,)),
                      prunable_share=1.0)  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_half_leaves_a_unit_where_one_must_stay(seed: int) -> None:
    units = _units()
    removed = half(units, seed)
    kept = kept_per_part(units, removed)
    assert kept[1] >= 1
    assert kept[3] >= 1
    assert all(len(gone) in (1, 2) for gone in removed.values())


def test_results_outlive_a_run_and_later_rows_replace_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "var" / "zoo.jsonl"
    Results(path).add(Row("a", units=1, seconds={"label": 0.5}))
    Results(path).add(Row("a", units=2, macs=(4, 2)))
    Results(path).add(Row("b"))
    again = Results(path).rows
    assert [(row.name, row.units) for row in again.values()] == [("a", 2), ("b", 0)]
    assert again["a"] == Row("a", units=2, macs=(4, 2))
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3
