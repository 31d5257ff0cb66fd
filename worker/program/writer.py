"""Writes programs: a `.pt2` that stock torch loads, and state dicts as safetensors. Same program, same bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, fx
from torch._dynamo.exc import UserError, UserErrorType
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from secateur.errors import ProgramFails
from worker.program.program import BATCH, Program, Size

EXAMPLE_BATCH = 2
GROWTH = 4
"""How many sizes, from the smallest on, a program is tried with where torch is not sure of its own conditions."""


def write(program: Program, path: Path) -> None:
    """Exports the program again, with the sizes that vary as they were, and saves it for evaluation on the CPU.

    The file holds no stack traces and nothing of the uploader but the tensors; its example inputs are single zeros,
    expanded. The archive's root folder is the stem of `path`. Raises ProgramFails where the export fails.
    """
    exported = export(program)
    for module in exported.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            _forget_origins(module.graph)
    args, kwargs = exported.example_inputs
    exported.example_inputs = (
        tuple(_single(given) for given in args),
        {name: _single(given) for name, given in kwargs.items()},
    )
    _use_plain_containers(exported)
    torch.export.save(exported, path)


def export(program: Program) -> ExportedProgram:
    """The program in evaluation mode as torch's own ExportedProgram; raises ProgramFails."""
    ours = program.copy().to("cpu")
    ours.set_training(False)
    ours.sizes[BATCH] = _example_size(ours)
    examples = ours.example(ours.sizes[BATCH].example)
    given = list(zip(ours.inputs, examples, strict=True))
    args = tuple(example for known, example in given if not known.keyword)
    kwargs = {known.name: example for known, example in given if known.keyword}
    named = {name: Dim(name, min=size.minimum, max=size.maximum) for name, size in ours.sizes.items()}
    try:
        return torch.export.export(ours.module, args, kwargs, dynamic_shapes=_shapes(ours, named))
    except Exception as error:
        misunderstood = isinstance(error, UserError) and error.error_type is UserErrorType.CONSTRAINT_VIOLATION
        exported = _hinted(ours, args, kwargs) if misunderstood else None
        if exported is None:
            raise ProgramFails(f"The program cannot be exported again: {str(error)[:500]}") from error
        return exported


def _shapes(program: Program, dims: Mapping[str, Any]) -> dict[str, dict[int, Any]]:
    return {
        known.name: {axis: dims[entry] for axis, entry in enumerate(known.shape) if isinstance(entry, str)}
        for known in program.inputs
    }


def _hinted(program: Program, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> ExportedProgram | None:
    """The program exported with its sizes as hints, where it really runs in all of their range; else None.

    Of some conditions (a chunk along the batch has one) torch cannot see that they hold for every size, and refuses
    sizes that have a name. Hints leave a condition in the program as a check.
    """
    hints = {name: Dim.DYNAMIC(min=size.minimum, max=size.maximum) for name, size in program.sizes.items()}
    try:
        exported = torch.export.export(program.module, args, kwargs, dynamic_shapes=_shapes(program, hints))
        run = exported.module()
        for growth in range(GROWTH):
            sizes = {name: _grown(size, growth) for name, size in program.sizes.items()}
            examples = list(zip(program.inputs, program.example(sizes), strict=True))
            run(
                *(example for known, example in examples if not known.keyword),
                **{known.name: example for known, example in examples if known.keyword},
            )
    except Exception:
        return None
    return exported


def _grown(size: Size, growth: int) -> int:
    """A size near the lower end of its range."""
    grown = size.minimum + growth
    return grown if size.maximum is None else min(grown, size.maximum)


def write_state(program: Program, path: Path) -> None:
    """Saves the state dict as safetensors. Of tied names the first is stored; the metadata maps the others to it.

    `safetensors.torch.load_model` loads the file into a module with the same ties.
    """
    aliases = {alias: first for first, *others in program.ties() for alias in others}
    tensors = {name: tensor for name, tensor in program.module.state_dict().items() if name not in aliases}
    _save(tensors, aliases, path)


def write_checkpoint(program: Program, masks: Mapping[str, Tensor], path: Path) -> None:
    """Saves a state dict that loads strictly into the module after `torch.nn.utils.prune.identity` on each masked name.

    A masked parameter X is stored as X_orig, the weights, and X_mask, ones and zeros of the same dtype. Tied names are
    stored under each name, as strict loading needs them.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in program.module.state_dict().items():
        if name in masks:
            tensors[f"{name}_orig"] = tensor
            tensors[f"{name}_mask"] = masks[name].to(tensor.dtype)
        else:
            tensors[name] = tensor
    _save(tensors, {}, path)


def _save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> None:
    """Safetensors with a header in one fixed order; the library's order of metadata changes from process to process."""
    contents = save({name: _own(tensor) for name, tensor in tensors.items()}, {"format": "pt", **metadata})
    length = struct.unpack_from("<Q", contents)[0]
    header = json.loads(contents[8 : 8 + length])
    ordered = json.dumps(
        {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}, separators=(",", ":")
    )
    text = ordered.encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.write(memoryview(contents)[8 + length :])


def _own(tensor: Tensor) -> Tensor:
    """A tensor in memory of its own: safetensors refuses names that share any."""
    return tensor.detach().cpu().contiguous().clone()


def _example_size(program: Program) -> Size:
    """Two examples where that is allowed: torch.export would take a single one for a constant."""
    size = program.sizes[BATCH]
    example = max(EXAMPLE_BATCH, size.minimum)
    return replace(size, example=example if size.maximum is None else min(example, size.maximum))


def _forget_origins(graph: fx.Graph) -> None:
    """Drops what tells where in somebody's source, and on whose machine, a node was made."""
    for node in graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(key, None)


def _use_plain_containers(exported: ExportedProgram) -> None:
    """The output as plain tuples, lists and dicts; export calls them immutable where it reads them off a graph."""
    call = exported.module_call_graph[0].signature
    spec = call.out_spec
    call.out_spec = pytree.tree_structure(_plain(pytree.tree_unflatten(range(spec.num_leaves), spec)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return tuple(_plain(inner) for inner in value) if isinstance(value, tuple) else value


def _single(example: Tensor) -> Tensor:
    return torch.zeros((), dtype=example.dtype).expand(example.shape)
