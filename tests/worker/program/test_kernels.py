"""What kernels trust is checked: literals and weights when a file is read, inputs and states when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations, prune

from secateur.errors import BadModel, CorruptArchive, UnsupportedStructure
from tests.worker.program.attacks import WEIGHTS, JSONObject, edited, rewrite
from worker.program.kernels import guard
from worker.program.program import assemble
from worker.program.reader import read
from worker.program.writer import write

Export = Callable[..., Path]
ATEN = torch.ops.aten


class First(nn.Module):
    """What an LSTM puts out."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 6, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.layer.batch_first else x.transpose(0, 1)
        return self.layer(x)[0].sum(0 if not self.layer.batch_first else 1)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed batch"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_first": True},
        {"bias": False, "num_layers": 2, "bidirectional": True},
        {"proj_size": 3, "num_layers": 2, "bidirectional": True, "batch_first": True},
    ],
    ids=str,
)
def test_every_kind_of_lstm_is_read_written_and_read_again(
    options: dict[str, Any], fixed: bool, export: Export, tmp_path: Path
) -> None:
    module = First(**options).eval()
    program = read(export(module, [torch.randn(2, 5, 4)], fixed=fixed))
    write(program, tmp_path / "again.pt2")
    again = read(tmp_path / "again.pt2")
    for batch in (1, 2, 3):
        given = torch.randn(batch, 5, 4)
        assert torch.allclose(program(given), module(given), atol=1e-6)
        assert torch.allclose(again(given), module(given), atol=1e-6)


def test_a_pruned_lstm_is_read(export: Export) -> None:
    module = First(batch_first=True).eval()
    prune.l1_unstructured(module.layer, "weight_hh_l0", 0.5)
    program = read(export(module, [torch.randn(2, 5, 4)]))
    assert list(program.masks) == ["layer.weight_hh_l0"]


@pytest.mark.parametrize(
    ("weight", "sizes"),
    [("weight_ih_l0", (1, 4)), ("weight_hh_l0", (24, 1)), ("weight_hh_l0", (4, 6)), ("bias_ih_l0", (1,))],
)
def test_an_lstm_with_short_weights_is_refused(
    weight: str, sizes: tuple[int, ...], export: Export, tmp_path: Path
) -> None:
    def shorten(config: JSONObject) -> None:
        meta = config["config"][f"layer.{weight}"]["tensor_meta"]
        meta["sizes"] = [{"as_int": size} for size in sizes]

    good = export(First(batch_first=True).eval(), [torch.randn(2, 5, 4)])
    with pytest.raises(CorruptArchive, match="lstm"):
        read(rewrite(good, tmp_path / "bad.pt2", {WEIGHTS: edited(shorten)}))


def lstm(tensors: dict[str, Tensor], computed: bool = False) -> fx.GraphModule:
    """x, h, c to what a guarded LSTM of one cell puts out."""
    graph = fx.Graph()
    x, h, c = (graph.placeholder(name) for name in "xhc")
    weights = [graph.get_attr(name) for name in tensors]
    if computed:
        weights[0] = graph.call_function(ATEN.relu.default, (weights[0],))
    arguments = (x, [h, c], weights, False, 1, 0.0, False, False, True)
    result = graph.call_function(ATEN.lstm.input, arguments)
    graph.output(result)
    guard(graph, tensors)
    return assemble(graph, tensors, set())


def weights() -> dict[str, Tensor]:
    return {"w_ih": torch.randn(24, 4), "w_hh": torch.randn(24, 6)}


@pytest.mark.parametrize(
    ("x", "h", "c"),
    [
        ((3, 5, 7), (1, 3, 6), (1, 3, 6)),
        ((3, 5, 4), (1, 2, 6), (1, 3, 6)),
        ((3, 5, 4), (1, 3, 6), (1, 2, 6)),
        ((3, 5, 4), (1, 3, 2), (1, 3, 2)),
        ((3, 5, 4), (3, 6), (3, 6)),
    ],
)
def test_an_lstm_does_not_run_on_a_state_or_input_of_another_size(
    x: tuple[int, ...], h: tuple[int, ...], c: tuple[int, ...]
) -> None:
    module = lstm(weights())
    with pytest.raises(RuntimeError, match="expand"):
        module(torch.zeros(x), torch.zeros(h), torch.zeros(c))
    assert module(torch.zeros(3, 5, 4), torch.zeros(1, 3, 6), torch.zeros(1, 3, 6))[0].shape == (3, 5, 6)


def test_weights_that_are_computed_are_refused() -> None:
    with pytest.raises(UnsupportedStructure, match="computed"):
        lstm(weights(), computed=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_weight_normalization_is_read_and_short_lengths_are_refused(axis: int, export: Export, tmp_path: Path) -> None:
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3), dim=axis)).eval()
    good = export(module, [torch.randn(2, 4)])
    given = torch.randn(3, 4)
    assert torch.allclose(read(good)(given), module(given), atol=1e-6)

    def shorten(config: JSONObject) -> None:
        meta = config["config"]["0.parametrizations.weight.original0"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 1}, {"as_int": 1}]

    with pytest.raises(CorruptArchive, match="lengths"):
        read(rewrite(good, tmp_path / "bad.pt2", {WEIGHTS: edited(shorten)}))


def call(target: Any, *arguments: Any) -> fx.Graph:
    graph = fx.Graph()
    graph.output(graph.call_function(target, (graph.placeholder("x"), *arguments)))
    return graph


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0, -2.0, 1e-9, 1e9])
def test_scales_beyond_reason_are_refused(scale: float) -> None:
    guard(call(ATEN.upsample_nearest2d.default, [8, 8], 2.0, 2.0), {})
    guard(call(ATEN.upsample_bilinear2d.vec, None, False, [0.5, 2.0]), {})
    for graph in (
        call(ATEN.upsample_nearest2d.default, [8, 8], 2.0, scale),
        call(ATEN.upsample_bilinear2d.vec, None, False, [2.0, scale]),
    ):
        with pytest.raises(CorruptArchive, match="scales by"):
            guard(graph, {})


def test_bytes_are_not_taken_for_booleans() -> None:
    guard(call(ATEN.view.dtype, torch.int8), {})
    with pytest.raises(BadModel, match="booleans"):
        guard(call(ATEN.view.dtype, torch.bool), {})
