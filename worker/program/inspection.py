"""What there is to know about a program before a job is made for it; nothing that reads the answer needs torch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import fx

from secateur.errors import ProgramFails, UnsupportedStructure
from secateur.inspection import Batch, Layer, ModelInspection, TensorInfo
from worker.program.examples import rows_indexed
from worker.program.input_axes import input_axes
from worker.program.layers import prunable
from worker.program.operators import name
from worker.program.program import BATCH, Program, Size
from worker.program.reason import reason
from worker.program.remedies import FLAT

Ending = Literal["logits", "softmax", "log_softmax"]

ENDINGS: dict[str, Ending] = {
    "softmax": "softmax",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "log_softmax": "log_softmax",
    "_log_softmax": "log_softmax",
}
INDEXES = frozenset((torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))
SAME_VALUES = frozenset(("to", "_to_copy", "type_as", "contiguous", "clone", "alias", "detach"))
LAYERS_MAX = 20_000
NAME_MAX = 256


def inspect(program: Program) -> ModelInspection:
    """Everything that an upload's record says. Runs the program at two batch sizes.

    Raises ProgramFails, and UnsupportedStructure for outputs that cannot be named or change their number of axes.
    """
    batch = program.sizes[BATCH]
    state = {id(tensor): tensor for tensor in program.module.state_dict(keep_vars=True).values()}
    return ModelInspection(
        written_by=program.written_by,
        inputs=_inputs(program),
        outputs=_outputs(program),
        batch=Batch(kind=program.batch_kind, minimum=batch.minimum, maximum=batch.maximum),
        parameters=sum(tensor.numel() for tensor in state.values() if tensor.requires_grad),
        state_bytes=sum(tensor.nbytes for tensor in state.values()),
        layers=_layers(program),
        tied=program.ties(),
        masked=tuple(program.masks),
        notes=program.notes,
    )


def _inputs(program: Program) -> tuple[TensorInfo, ...]:
    nodes = program.module.graph.find_nodes(op="placeholder")
    return tuple(
        TensorInfo(
            name=given.name,
            dtype=_written(given.dtype),
            shape=given.shape,
            ranges={axis: _range(program.sizes[axis]) for axis in given.shape[1:] if isinstance(axis, str)},
            below=rows_indexed(node) if given.dtype in INDEXES else None,
        )
        for node, given in zip(nodes, program.inputs, strict=True)
    )


def _range(size: Size) -> tuple[int, int | None]:
    """What an axis may be: torch writes 2 for every axis that it let vary freely, and takes 1 there all the same."""
    return (1 if size.minimum == 2 else size.minimum), size.maximum


def _layers(program: Program) -> tuple[Layer, ...]:
    parameters = dict(program.named_parameters())
    layers = prunable(program)
    if len(layers) > LAYERS_MAX:
        raise UnsupportedStructure(f"The program has {len(layers)} prunable layers; at most {LAYERS_MAX} are allowed.")
    axes = input_axes(program, layers)
    return tuple(
        Layer(
            name=first,
            shape=tuple(parameters[first].shape),
            total=parameters[first].numel(),
            zeros=int((parameters[first] == 0).sum()),
            operator=operator,
            input_axis=axes.get(first),
        )
        for first, operator in layers.items()
    )


def _outputs(program: Program) -> tuple[TensorInfo, ...]:
    nodes = program.outputs()
    longest = max(map(len, nodes), default=0)
    if longest > NAME_MAX:
        raise UnsupportedStructure(
            f"An output has a name of {longest} characters, nested keys included; at most {NAME_MAX} are allowed."
        )
    base = {symbol: size.example for symbol, size in program.sizes.items()}
    results = _run(program, base)
    if results.keys() != nodes.keys():
        raise UnsupportedStructure("Not all outputs of the program are tensors that its operators give.", remedy=FLAT)
    shapes: dict[str, list[int | str]] = {key: list(tensor.shape) for key, tensor in results.items()}
    for symbol, size in program.sizes.items():
        other = _other(size)
        changed = results if other is None else _run(program, base | {symbol: other})
        for key, shape in shapes.items():
            if changed[key].dim() != len(shape):
                raise UnsupportedStructure(
                    f"The output {key!r} has {len(shape)} axes at some sizes and {changed[key].dim()} at others.",
                    remedy=FLAT,
                )
            for axis, (was, now) in enumerate(zip(results[key].shape, changed[key].shape, strict=True)):
                if was != now:
                    shape[axis] = _followed(shape[axis], symbol, size.example, now - was)
    return tuple(
        TensorInfo(
            name=key,
            dtype=_written(tensor.dtype),
            shape=tuple(shapes[key]),
            ends_in=_ending(nodes[key], tensor.dim()) if tensor.is_floating_point() else None,
        )
        for key, tensor in results.items()
    )


def _run(program: Program, sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    try:
        with torch.no_grad():
            return program.run(*program.example(sizes))
    except Exception as error:
        raise ProgramFails(f"The program cannot be run at {sizes}: {reason(error)}") from error


def _other(size: Size) -> int | None:
    """A second allowed value of a size."""
    if size.maximum is None or size.example < size.maximum:
        return size.example + 1
    return size.example - 1 if size.example > size.minimum else None


def _followed(size: int | str, symbol: str, example: int, growth: int) -> str:
    """The name of an output's axis that grew with a symbol: the symbol, a multiple of it, or just that it varies."""
    times = abs(growth)
    if times == 1 and size == example:
        return symbol
    return f"{times}*{symbol}" if size == times * example else "varies"


def _ending(node: fx.Node, axes: int) -> Ending:
    """Whether an output is the softmax or log softmax over its channels (axis 1) or its last axis."""
    while name(node.target) in SAME_VALUES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    ending = ENDINGS.get(name(node.target))
    axis = node.args[1] if len(node.args) > 1 else None
    return ending if ending and isinstance(axis, int) and axis % max(axes, 1) in (1, axes - 1) else "logits"


def _written(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
