"""Files that would run code, or worse, in a naive reader. Each changes a clean export; each payload leaves a mark.

Use `ATTACKS[name].build(folder, marker)` to write the file; `code` is the error that it must be refused with, None
where the file is harmless once the payload is ignored.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

Change = bytes | Callable[[bytes], bytes] | None
JSONObject = dict[str, Any]


class Victim(nn.Module):
    """A parameter, a persistent and a transient buffer, and an operator with a text argument."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("shift", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3) to (batch, 2)."""
        return nn.functional.gelu(self.layer(x) * self.scale + self.shift, approximate="tanh")


def clean(path: Path) -> Path:
    """A file as users make it."""
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Victim().eval(), (torch.randn(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def rewrite(
    source: Path,
    target: Path,
    changes: Mapping[str, Change],
    compression: int = zipfile.ZIP_STORED,
    root: str | None = None,
) -> Path:
    """Copies a `.pt2`; `changes` maps members, without the root folder, to contents, a function, or None to drop."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        folder = root or old.namelist()[0].split("/")[0]
        members = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name, change in changes.items():
            contents = change(members[name]) if callable(change) else change
            members.pop(name, None)
            if contents is not None:
                members[name] = contents
        for name, contents in members.items():
            new.writestr(f"{folder}/{name}", contents)
    return target


def edited(edit: Callable[[JSONObject], None]) -> Callable[[bytes], bytes]:
    """A change that edits a JSON member."""

    def change(contents: bytes) -> bytes:
        value = json.loads(contents)
        edit(value)
        return json.dumps(value).encode()

    return change


def shell(marker: Path) -> str:
    """A command that leaves the mark."""
    return f"touch {marker}"


def expression(marker: Path) -> str:
    """Python that leaves the mark and stays an expression."""
    return f"__import__('os').system({shell(marker)!r})"


class _Payload:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (shell(self._marker),)


def bare_pickle(marker: Path) -> bytes:
    """A pickle that leaves the mark when it is opened."""
    return pickle.dumps(_Payload(marker))


def saved_pickle(marker: Path) -> bytes:
    """The same in torch.save's zip."""
    buffer = io.BytesIO()
    torch.save(_Payload(marker), buffer)
    return buffer.getvalue()


MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def _node(model: JSONObject, operator: str) -> JSONObject:
    nodes = model["graph_module"]["graph"]["nodes"]
    return next(node for node in nodes if f".{operator}." in node["target"])


def _renamed(text: str) -> Callable[[bytes], bytes]:
    """Calls the input of the program `text` wherever it is named."""

    def change(contents: bytes) -> bytes:
        value = _replaced(json.loads(contents), "x", text)
        return json.dumps(value).encode()

    return change


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if key == old else key: _replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, old, new) for inner in value]
    return new if value == old else value


def _in_sizes(text: str) -> Callable[[JSONObject], None]:
    def edit(model: JSONObject) -> None:
        for meta in model["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    return edit


def _in_ranges(marker: Path) -> Callable[[JSONObject], None]:
    return lambda model: model["range_constraints"].update({expression(marker): {"min_val": 1, "max_val": 2}})


def _guard(marker: Path) -> Callable[[JSONObject], None]:
    return lambda model: model["guards_code"].append(f"{expression(marker)} == 0")


def _output_type(kind: str, context: str) -> Callable[[JSONObject], None]:
    leaf = {"type": None, "context": None, "children_spec": []}
    spec = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])

    def edit(model: JSONObject) -> None:
        model["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec

    return edit


def _call(target: str, arguments: Mapping[str, JSONObject]) -> Callable[[JSONObject], None]:
    """Puts a call ahead of all others, and returns its result from the program."""

    def edit(model: JSONObject) -> None:
        inputs = [{"name": name, "arg": arg, "kind": 1} for name, arg in arguments.items()]
        outputs = [{"as_tensor": {"name": "attack"}}]
        node = {"target": target, "inputs": inputs, "outputs": outputs, "metadata": {}, "name": "attack"}
        graph = model["graph_module"]["graph"]
        graph["nodes"].insert(0, node)
        graph["tensor_values"]["attack"] = graph["tensor_values"]["x"]
        graph["outputs"] = outputs
        model["graph_module"]["signature"]["output_specs"][0]["user_output"]["arg"]["as_tensor"]["name"] = "attack"

    return edit


def _node_name(text: str) -> Callable[[JSONObject], None]:
    def edit(model: JSONObject) -> None:
        node = _node(model, "linear")
        old = node["outputs"][0]["as_tensor"]["name"]
        model["graph_module"] = _replaced(model["graph_module"], old, text)

    return edit


def _text_argument(text: str) -> Callable[[JSONObject], None]:
    def edit(model: JSONObject) -> None:
        _node(model, "gelu")["inputs"][1]["arg"]["as_string"] = text

    return edit


def _tensor(name: str, **changes: Any) -> Callable[[JSONObject], None]:
    return lambda config: config["config"][name].update(changes)


def _meta(name: str, **changes: Any) -> Callable[[JSONObject], None]:
    return lambda config: config["config"][name]["tensor_meta"].update(changes)


def _parameter_name(text: str) -> Callable[[bytes], bytes]:
    def change(contents: bytes) -> bytes:
        return json.dumps(_replaced(json.loads(contents), "layer.weight", text)).encode()

    return change


@dataclass(frozen=True)
class Attack:
    """Changes to a clean file as a function of the mark that they try to leave."""

    changes: Callable[[Path], Mapping[str, Change]]
    code: str | None = None
    runs_in_torch: bool = False
    """Whether `torch.export.load`, or running what it gives, leaves the mark in torch 2.13."""

    def build(self, folder: Path, marker: Path) -> Path:
        """Writes the file into `folder`."""
        return rewrite(clean(folder / "clean.pt2"), folder / "attack.pt2", self.changes(marker))


def _json(edit: Callable[[JSONObject], None]) -> Mapping[str, Change]:
    return {MODEL: edited(edit)}


ATTACKS: dict[str, Attack] = {
    "sample inputs": Attack(lambda m: {"data/sample_inputs/model.pt": saved_pickle(m)}, runs_in_torch=True),
    "pickled weight": Attack(
        lambda m: {
            WEIGHTS: edited(_tensor("layer.weight", use_pickle=True)),
            "data/weights/weight_0": saved_pickle(m),
        },
        "unsafe_archive",
        runs_in_torch=True,
    ),
    "pickled constant": Attack(
        lambda m: {CONSTANTS: edited(_tensor("shift", use_pickle=True)), "data/constants/tensor_0": saved_pickle(m)},
        "unsafe_archive",
        runs_in_torch=True,
    ),
    "legacy weights": Attack(
        lambda m: {WEIGHTS: None, "data/weights/model.pt": saved_pickle(m)}, "unsafe_archive", runs_in_torch=True
    ),
    "legacy constants": Attack(
        lambda m: {CONSTANTS: None, "data/constants/model.pt": saved_pickle(m)}, "unsafe_archive", runs_in_torch=True
    ),
    "opaque object": Attack(
        lambda m: {
            CONSTANTS: edited(
                lambda c: c["config"].update(
                    o={**c["config"]["shift"], "path_name": "opaque_obj_0", "use_pickle": True}
                )
            ),
            "data/constants/opaque_obj_0": bare_pickle(m),
        },
        "unsafe_archive",
        runs_in_torch=True,
    ),
    "custom object": Attack(lambda m: {"data/constants/custom_obj_0": bare_pickle(m)}, "unsafe_archive"),
    "symbolic size": Attack(lambda m: _json(_in_sizes(expression(m))), "unsupported_structure", runs_in_torch=True),
    "huge power": Attack(lambda m: _json(_in_sizes("9**9**9**9")), "unsupported_structure"),
    "range of an expression": Attack(lambda m: _json(_in_ranges(m))),
    "name of an input": Attack(lambda m: {MODEL: _renamed(f"x={expression(m)}")}, runs_in_torch=True),
    "annotation of an input": Attack(lambda m: {MODEL: _renamed(f"x: {expression(m)}")}),
    "keyword as an input": Attack(lambda m: {MODEL: _renamed("lambda")}),
    "guard": Attack(lambda m: _json(_guard(m)), runs_in_torch=True),
    "enum in a treespec": Attack(
        lambda m: _json(
            _output_type("builtins.dict", json.dumps([{"__enum__": True, "fqn": "this:Foo", "name": "x"}]))
        ),
        "unsupported_structure",
    ),
    "default dict in a treespec": Attack(
        lambda m: _json(
            _output_type(
                "collections.defaultdict",
                json.dumps({"default_factory_module": "this", "default_factory_name": "s", "dict_context": ["k"]}),
            )
        ),
        "unsupported_structure",
    ),
    "class in a treespec": Attack(
        lambda m: _json(_output_type("os.system", json.dumps(shell(m)))), "unsupported_structure"
    ),
    "file as a tensor": Attack(
        lambda m: _json(
            _call(
                "torch.ops.aten.from_file.default",
                {"filename": {"as_string": str(m)}, "shared": {"as_bool": True}, "size": {"as_int": 6}},
            )
        ),
        "unsupported_operator",
        runs_in_torch=True,
    ),
    "python function": Attack(
        lambda m: _json(_call("torch.os.system", {"command": {"as_string": shell(m)}})), "unsupported_operator"
    ),
    "operator of another library": Attack(
        lambda m: _json(_call("torch.ops.prims.device_put.default", {"a": {"as_tensor": {"name": "x"}}})),
        "unsupported_operator",
    ),
    "dunder of an operator": Attack(
        lambda m: _json(_call("torch.ops.aten.add.__class__", {"a": {"as_tensor": {"name": "x"}}})),
        "unsupported_operator",
    ),
    "unwritten memory": Attack(
        lambda m: _json(_call("torch.ops.aten.empty_like.default", {"self": {"as_tensor": {"name": "x"}}})),
        "unsupported_operator",
    ),
    "foreign memory": Attack(
        lambda m: _json(
            _call(
                "torch.ops.aten.as_strided.default",
                {
                    "self": {"as_tensor": {"name": "x"}},
                    "size": {"as_ints": [1]},
                    "stride": {"as_ints": [1]},
                    "storage_offset": {"as_int": 1 << 40},
                },
            )
        ),
        "unsupported_operator",
    ),
    "a million million zeros": Attack(
        lambda m: _json(_call("torch.ops.aten.zeros.default", {"size": {"as_ints": [10**6, 10**6]}})), "unsafe_archive"
    ),
    "random at every run": Attack(
        lambda m: _json(_call("torch.ops.aten.rand_like.default", {"self": {"as_tensor": {"name": "x"}}})),
        "random_operator",
    ),
    "name of a node": Attack(lambda m: _json(_node_name(f"linear; {expression(m)}; z"))),
    "text of an operator": Attack(lambda m: _json(_text_argument(f"' + {expression(m)} + '"))),
    "lines in the text of an operator": Attack(
        lambda m: _json(_text_argument(f"tanh'\n{expression(m)}\n'")), "unsupported_operator"
    ),
    "name of a parameter": Attack(
        lambda m: {
            MODEL: _parameter_name(f'layer.w" + {expression(m)} + "'),
            WEIGHTS: _parameter_name(f'layer.w" + {expression(m)} + "'),
        },
        "unsafe_archive",
    ),
    "parameter over a method": Attack(
        lambda m: {MODEL: _parameter_name("forward"), WEIGHTS: _parameter_name("forward")}, "unsupported_structure"
    ),
    "path of a parameter": Attack(
        lambda m: {WEIGHTS: edited(_tensor("layer.weight", path_name="../../../../etc/passwd"))}, "unsafe_archive"
    ),
    "native code": Attack(
        lambda m: {"data/aotinductor/model/model.wrapper.so": b"\x7fELF" + str(m).encode()}, "unsafe_archive"
    ),
    "view beyond its storage": Attack(
        lambda m: {WEIGHTS: edited(_meta("layer.weight", storage_offset={"as_int": 1 << 20}))}, "corrupt_archive"
    ),
    "negative stride": Attack(
        lambda m: {WEIGHTS: edited(_meta("layer.weight", strides=[{"as_int": -3}, {"as_int": 1}]))}, "corrupt_archive"
    ),
    "parameter on top of itself": Attack(
        lambda m: {WEIGHTS: edited(_meta("layer.weight", strides=[{"as_int": 0}, {"as_int": 1}]))}, "unsafe_archive"
    ),
    "sizes that overflow": Attack(
        lambda m: {WEIGHTS: edited(_meta("layer.weight", sizes=[{"as_int": 1 << 62}, {"as_int": 1 << 62}]))},
        "corrupt_archive",
    ),
}
