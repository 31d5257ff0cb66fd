"""What stands in a file is bounded: enumerations, memory, counts, names, and outputs that have one form."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from secateur.errors import BadModel, CorruptArchive, PickledModule, UnsafeArchive, UnsupportedStructure
from tests.worker.program.attacks import CONSTANTS, MODEL, WEIGHTS, Change, JSONObject, clean, edited, rewrite
from worker.program import graph, inspection, signature, tensors
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read, recognise
from worker.program.reparametrised import fold_masks

X = {"as_tensor": {"name": "x"}}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return clean(tmp_path / "good.pt2")


def last(target: str, **arguments: JSONObject) -> Callable[[JSONObject], None]:
    """Another operator at the end."""

    def edit(model: JSONObject) -> None:
        node = model["graph_module"]["graph"]["nodes"][-1]
        node["target"] = target
        node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in arguments.items()]

    return edit


def reread(good: Path, edit: Callable[[JSONObject], None]) -> Program:
    return read(rewrite(good, good.with_name("edited.pt2"), {MODEL: edited(edit)}))


FULL: JSONObject = {"size": {"as_ints": [2]}, "fill_value": {"as_float": 1.0}}
ENUMS: dict[str, Callable[[JSONObject], None]] = {
    "dtype": last("torch.ops.aten.to.dtype", self=X, dtype={"as_int": -1}),
    "dtype that may be none": last("torch.ops.aten.cumsum.default", self=X, dim={"as_int": 0}, dtype={"as_int": 99}),
    "dtype as a node": last("torch.ops.aten.to.dtype", self=X, dtype=X),
    "layout": last("torch.ops.aten.full.default", **FULL, layout={"as_int": 77}),
    "device": last("torch.ops.aten.full.default", **FULL, device={"as_string": "meta"}),
    "memory format": last("torch.ops.aten.contiguous.default", self=X, memory_format={"as_int": 99}),
}


@pytest.mark.parametrize("edit", ENUMS.values(), ids=ENUMS.keys())
def test_a_number_is_no_data_type(edit: Callable[[JSONObject], None], good: Path) -> None:
    with pytest.raises(CorruptArchive, match=r"The argument \w+ of an operator is a"):
        reread(good, edit)


def test_tensors_may_not_be_far_larger_than_their_file(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them may be expanded, but all of them count."""
    monkeypatch.setattr(tensors, "DENSE_BYTES_MAX", 1 << 20)

    def more(count: int) -> Mapping[str, Change]:
        def edit(config: JSONObject) -> None:
            one = config["config"]["shift"]
            for number in range(count):
                sizes, strides = [{"as_int": 1 << 14}, {"as_int": number + 1}], [{"as_int": 0}, {"as_int": 0}]
                meta = {**one["tensor_meta"], "sizes": sizes, "strides": strides}
                config["config"][f"more_{number}"] = {**one, "tensor_meta": meta}

        return {CONSTANTS: edited(edit)}

    assert "more_3" in dict(read(rewrite(good, tmp_path / "few.pt2", more(4))).module.named_buffers())
    with pytest.raises(UnsafeArchive, match="larger than the file"):
        read(rewrite(good, tmp_path / "many.pt2", more(12)))


def test_a_tar_is_recognised_without_being_read(tmp_path: Path) -> None:
    """Every header says that the next one has a long name, which tarfile follows without end."""
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 512
    path = tmp_path / "model.pt2"
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512) * 3000)
    with pytest.raises(PickledModule):
        recognise(path)


def renamed(old: str, new: str) -> Mapping[str, Change]:
    def change(contents: bytes) -> bytes:
        return contents.replace(old.encode(), new.encode())

    return {MODEL: change, WEIGHTS: change}


@pytest.mark.parametrize("word", ["in", "class", "lambda", "None"])
def test_a_word_of_python_is_no_name(word: str, good: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedStructure, match=f"'{word}'.*Rename"):
        read(rewrite(good, tmp_path / "bad.pt2", renamed("layer.weight", f"{word}.weight")))


def test_names_of_tensors_are_bounded(good: Path, tmp_path: Path) -> None:
    name = ".".join(["layer" * 10] * 5)
    assert name in read(rewrite(good, tmp_path / "long.pt2", renamed("layer.weight", name))).module.state_dict()
    with pytest.raises(UnsupportedStructure, match="305 characters; at most 256"):
        read(rewrite(good, tmp_path / "longer.pt2", renamed("layer.weight", f"{name}.{'x' * 50}")))


def returning(*keys: str) -> Callable[[JSONObject], None]:
    """The output as a dict."""
    leaf: JSONObject = {"type": None, "context": None, "children_spec": []}
    context = json.dumps(keys)
    tree = json.dumps([1, {"type": "builtins.dict", "context": context, "children_spec": [leaf] * len(keys)}])

    def edit(model: JSONObject) -> None:
        model["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = tree
        model["graph_module"]["signature"]["output_specs"] *= len(keys)

    return edit


@pytest.mark.parametrize("key", ["\ud800", "a\nb", "\u202e"])
def test_keys_that_cannot_be_written_are_refused(key: str, good: Path) -> None:
    assert list(reread(good, returning("schön")).outputs()) == ["schön"]
    with pytest.raises(UnsupportedStructure, match="printable"):
        reread(good, returning(key))


def test_tensors_are_not_added_by_python(good: Path) -> None:
    with pytest.raises(BadModel, match="only numbers"):
        reread(good, last("_operator.add", a=X, b=X))


def test_outputs_that_lose_an_axis_are_refused(tmp_path: Path) -> None:
    class Squeezes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    batch = torch.export.Dim("batch", min=1, max=9)
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Squeezes(), (torch.ones(2, 3),), dynamic_shapes=({0: batch},)), path)

    def edit(model: JSONObject) -> None:
        last("torch.ops.aten.squeeze.default", self=X)(model)
        for value in model["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["hint"] = {"as_int": 1}

    with pytest.raises(UnsupportedStructure, match="axes at some sizes"):
        inspect(reread(path, edit))


@pytest.mark.parametrize("name", ["self", "torch", "getattr", "inf"])
def test_inputs_do_not_hide_what_generated_code_uses(name: str, good: Path) -> None:
    def edit(value: Any) -> Any:
        if isinstance(value, dict):
            return {name if key == "x" else key: edit(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [edit(inner) for inner in value]
        return name if value == "x" else value

    def change(contents: bytes) -> bytes:
        return json.dumps(edit(json.loads(contents))).encode()

    program = read(rewrite(good, good.with_name("named.pt2"), {MODEL: change}))
    assert [given.name for given in program.inputs] == ["input_0"]
    assert torch.equal(program(torch.ones(3, 3)), read(good)(torch.ones(3, 3)))


@pytest.mark.parametrize(
    ("module", "limit", "said"),
    [
        (signature, "INPUTS_MAX", "takes 1 tensors; at most 0"),
        (graph, "OUTPUTS_MAX", "has 1 outputs; at most 0"),
        (graph, "NODES_MAX", r"has \d calls; at most 0"),
        (inspection, "LAYERS_MAX", "has 1 prunable layers; at most 0"),
        (inspection, "NAME_MAX", "1 characters, nested keys included; at most 0"),
    ],
)
def test_counts_are_bounded(module: object, limit: str, said: str, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect(read(good))
    monkeypatch.setattr(module, limit, 0)
    with pytest.raises(UnsupportedStructure, match=said):
        inspect(read(good))


def test_folding_masks_takes_time_in_proportion() -> None:
    """In proportion to the layers; to search all of them for each would take minutes."""
    source = fx.Graph()
    state: dict[str, Tensor] = {}
    x = source.placeholder("x")
    for number in range(10_000):
        state[f"w{number}_orig"], state[f"w{number}_mask"] = nn.Parameter(torch.ones(1)), torch.ones(1)
        pair = (source.get_attr(f"w{number}_orig"), source.get_attr(f"w{number}_mask"))
        x = source.call_function(torch.ops.aten.add.Tensor, (x, source.call_function(torch.ops.aten.mul.Tensor, pair)))
    source.output(x)
    started = time.monotonic()
    folded, masks = fold_masks(source, state)
    assert time.monotonic() - started < 10
    assert len(folded) == len(masks) == 10_000
