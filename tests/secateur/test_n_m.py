"""What the door says of N:M jobs: which blocks there are, how many zeros come of them, and why some cannot run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import examples
from secateur import fit, n_m
from secateur.allocation import Blocks, Pool
from secateur.errors import NothingPrunable
from secateur.forecast import forecast
from secateur.inspection import DatasetInspection, Layer, ModelInspection
from secateur.resources import Finding, Forecast
from secateur.spec import JobSpec
from secateur.spec.n_m import KeepNOfM

MODEL = ModelInspection.model_validate(examples.MODEL["inspection"])
DATA = DatasetInspection.model_validate(examples.DATASET["inspection"])


def layer(name: str, *shape: int, axis: int | None = 1, zeros: int = 0) -> Layer:
    total = 1
    for size in shape:
        total *= size
    return Layer(name=name, shape=shape, total=total, zeros=zeros, operator="linear", input_axis=axis)


def spec(layers: dict[str, Any] | None = None, **target: int) -> JobSpec:
    prune = {"target": {"kind": "n_m", "keep": 2, "of": 4, **target}, "layers": layers or {}}
    return JobSpec.model_validate({**examples.SPEC, "data": {"train": examples.TRAIN_ID}, "prune": prune})


def seen(wanted: JobSpec, *layers: Layer) -> Forecast:
    return forecast(wanted, MODEL.model_copy(update={"layers": layers}), {examples.TRAIN_ID: DATA})


def found(wanted: JobSpec, *layers: Layer) -> tuple[Finding, ...]:
    return fit.findings(wanted, MODEL.model_copy(update={"layers": layers}), {examples.TRAIN_ID: DATA})


@given(st.integers(0, 9), st.integers(0, 30), st.integers(0, 4), st.integers(1, 8))
def test_blocks_are_whole_and_lie_along_the_axis(rows: int, size: int, kernel: int, of: int) -> None:
    expected = rows * (size // of) * kernel
    assert n_m.number_of_blocks(layer("w", rows, size, kernel), of) == expected
    assert n_m.number_of_blocks(layer("w", size, kernel, rows, axis=0), of) == expected
    assert n_m.number_of_blocks(layer("w", rows, size, kernel, axis=None), of) == 0


def test_a_layer_without_blocks_loses_nothing() -> None:
    layers = [layer("a", 3, 10), layer("b", 3, 3), layer("c", 8, 8, axis=None), layer("d", 10, 3, axis=0)]
    assert n_m.pools(layers, KeepNOfM(keep=1, of=4)) == [
        Pool(("a",), 0.75, blocks=Blocks(1, 4)),
        Pool(("b",), 0.0),
        Pool(("c",), 0.0),
        Pool(("d",), 0.75, blocks=Blocks(0, 4)),
    ]
    told = seen(spec(keep=1), *layers)
    assert (told.weights, told.zeros, told.estimate) == (30 + 9 + 64 + 30, 3 * 2 * 3 + 3 * 2 * 3, False)
    assert (told.layers, told.left_whole) == (("a", "b", "c", "d"), ("b", "c"))


def test_zeros_that_are_there_make_it_an_estimate_only_where_blocks_are() -> None:
    assert not seen(spec(), layer("a", 4, 8), layer("b", 4, 3, zeros=5)).estimate
    assert seen(spec(), layer("a", 4, 8), layer("b", 4, 3, zeros=5)).zeros == 16 + 5
    few, many = (seen(spec(), layer("a", 4, 8, zeros=zeros)) for zeros in (3, 20))
    assert (few.zeros, few.estimate) == (16, True)
    assert (many.zeros, many.estimate) == (20, True)


def test_only_the_chosen_layers_count() -> None:
    told = seen(spec({"exclude": ["b"]}), layer("a", 4, 8), layer("b", 4, 8))
    assert (told.weights, told.zeros, told.layers) == (32, 16, ("a",))


def test_nothing_with_a_block_is_refused_with_the_way_out() -> None:
    layers = (layer("a", 4, 3), layer("b", 8, 8, axis=None))
    (problem,) = found(spec(), *layers)
    assert (problem.code, problem.pointer) == ("nothing_prunable", "/prune/target")
    assert "None of the 2 chosen layers has a block of 4" in problem.message
    assert "a smaller `of`" in problem.message
    with pytest.raises(NothingPrunable):
        fit.require_fit(spec(), MODEL.model_copy(update={"layers": layers}), {examples.TRAIN_ID: DATA})
    assert found(spec(keep=1, of=3), *layers) == ()
    assert [each.code for each in found(spec({"include": ["b"]}, keep=1, of=3), *layers)] == ["nothing_prunable"]


def test_a_model_that_was_inspected_before_axes_were_known_is_to_be_uploaded_anew() -> None:
    fields = layer("a", 8, 8).model_dump()
    del fields["input_axis"]
    (problem,) = found(spec(), Layer.model_validate(fields))
    assert "upload it anew" in problem.message


def test_the_example_of_the_api_has_blocks() -> None:
    assert found(spec(), *MODEL.layers) == ()
    assert seen(spec(), *MODEL.layers).zeros == (4096 + 640) // 2
