"""The noun that everything after reading is written about: a graph of ATen operators with its parameters beside it."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload

from worker.program import training
from worker.program.examples import example_input

BATCH = "batch"


class Runnable(Protocol):
    """What runs like a program, in training mode or not."""

    def __call__(self, *inputs: Tensor) -> Any: ...
    def set_training(self, mode: bool, /) -> None: ...


@dataclass(frozen=True)
class Size:
    """A size that varies: its smallest and largest value (None: no bound), and one that is known to work."""

    minimum: int
    maximum: int | None
    example: int


@dataclass(frozen=True)
class Input:
    """A tensor that the program takes. A text in `shape` names a size that varies; axis 0 is always `batch`."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]
    keyword: bool = False
    """Whether the program was exported with this input as a keyword argument; it is written so again."""

    def sized(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(sizes[entry] if isinstance(entry, str) else entry for entry in self.shape)


@dataclass
class Program:
    """A network as an exported graph.

    `module` runs it: parameters and buffers are attached under their original dotted names, a tied parameter is one
    object under all its names, and the output node holds the original nesting of tuples, lists and dicts.
    """

    module: fx.GraphModule
    inputs: tuple[Input, ...]
    sizes: dict[str, Size]
    batch_kind: Literal["dynamic", "made_dynamic"] = "dynamic"
    masks: dict[str, Tensor] = field(default_factory=dict)
    """Parameters that arrived under torch.nn.utils.prune: their masks, bool, True where the weight stays."""
    notes: tuple[str, ...] = ()
    """What was changed on the way in, in words."""
    written_by: str = "unknown"
    """The version of torch that the file names as its writer."""

    def __call__(self, *inputs: Tensor) -> Any:
        """The outputs, nested as in the original; inputs in the order of `inputs`, each of shape (batch, ...)."""
        return self.module(*inputs)

    def run(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The output tensors under the names that `outputs` gives."""
        return {name: leaf for name, leaf in _leaves("", self(*inputs)) if isinstance(leaf, Tensor)}

    def outputs(self) -> dict[str, fx.Node]:
        """The output tensors' nodes under their keys or indices, joined by dots when nested; a lone tensor is `0`."""
        result = self.module.graph.output_node().args[0]
        return {name: leaf for name, leaf in _leaves("", result) if isinstance(leaf, fx.Node) and gives_tensor(leaf)}

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Each parameter once, under its first name."""
        return self.module.named_parameters()

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of names that share one parameter, the first name first."""
        groups: dict[int, list[str]] = {}
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
        return tuple(tuple(names) for names in groups.values() if len(names) > 1)

    def set_training(self, mode: bool) -> None:
        """Switches dropout, batch normalization and recurrent layers between training and evaluation."""
        training.set_training(self.module, mode)

    def taking_statistics(self) -> AbstractContextManager[dict[str, Tensor]]:
        """While this is entered, each run sets the statistics that batch norm keeps to those of its batch alone."""
        return training.taking_statistics(self.module)

    def to(self, device: torch.device | str) -> Program:
        """Moves all tensors, and the device that creation operators name, in place."""
        target = torch.device(device)
        self.module.to(target)
        self.masks = {name: mask.to(target) for name, mask in self.masks.items()}
        for node in self.module.graph.nodes:
            node.args, node.kwargs = _on_device(node.args, target), _on_device(node.kwargs, target)
        self.module.recompile()
        return self

    def example(self, sizes: int | Mapping[str, int], seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs of our own: normal floats, valid indices, ones.

        `sizes` is the number of examples, or names the sizes that are not to be those known to work.
        """
        generator = torch.Generator().manual_seed(seed)
        nodes = self.module.graph.find_nodes(op="placeholder")
        device = next((tensor.device for tensor in self.module.state_dict().values()), torch.device("cpu"))
        known = {name: size.example for name, size in self.sizes.items()}
        known |= {BATCH: sizes} if isinstance(sizes, int) else sizes
        return tuple(
            example_input(node, given.dtype, given.sized(known), generator).to(device)
            for node, given in zip(nodes, self.inputs, strict=True)
        )

    def copy(self) -> Program:
        """A program that shares no tensor and no node with this one."""
        copied: dict[int, Tensor] = {}
        tensors = {name: _copied(tensor, copied) for name, tensor in named_tensors(self.module)}
        return self._rebuilt(tensors, {name: mask.clone() for name, mask in self.masks.items()})

    def fork(self) -> Program:
        """A program with nodes of its own on the same tensors: `to` would move those of both."""
        return self._rebuilt(dict(named_tensors(self.module)), dict(self.masks))

    def _rebuilt(self, tensors: Mapping[str, Tensor], masks: dict[str, Tensor]) -> Program:
        module = assemble(copy.deepcopy(self.module.graph), tensors, transient_names(self.module))
        return Program(module, self.inputs, dict(self.sizes), self.batch_kind, masks, self.notes, self.written_by)


def assemble(graph: fx.Graph, tensors: Mapping[str, Tensor], transient: set[str]) -> fx.GraphModule:
    """A module that runs `graph` with `tensors` attached under their names, also those that the graph does not use."""
    module = fx.GraphModule(nn.Module(), fx.Graph())
    for name, tensor in tensors.items():
        attach(module, name, tensor, persistent=name not in transient)
    module.graph = graph
    return module


def attach(module: nn.Module, name: str, tensor: Tensor, *, persistent: bool = True) -> None:
    """Sets a parameter or buffer under a dotted name, with the modules in between."""
    *parents, leaf = name.split(".")
    for parent in parents:
        if parent not in module._modules:
            module.add_module(parent, nn.Module())
        module = module.get_submodule(parent)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(leaf, tensor)
    else:
        module.register_buffer(leaf, tensor, persistent=persistent)


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers under all their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def transient_names(module: nn.Module) -> set[str]:
    """The names of tensors that are no part of the state dict."""
    return {name for name, _ in named_tensors(module)} - set(module.state_dict())


def gives_tensor(node: fx.Node) -> bool:
    """Whether the value of a node is a tensor, not a size."""
    if isinstance(node.target, OpOverload):
        return any("Tensor" in str(value.type) for value in node.target._schema.returns)
    return node.op != "call_function" or node.target is operator.getitem


def _copied(tensor: Tensor, copied: dict[int, Tensor]) -> Tensor:
    if id(tensor) not in copied:
        clone = tensor.detach().clone()
        grown = nn.Parameter(clone, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else clone
        copied[id(tensor)] = grown
    return copied[id(tensor)]


def _on_device(values: Any, device: torch.device) -> Any:
    if isinstance(values, torch.device):
        return device
    if isinstance(values, dict):
        return {key: _on_device(value, device) for key, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(_on_device(value, device) for value in values)
    return values


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        pairs = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, tuple | list):
        pairs = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        yield name or "0", value
        return
    for key, inner in pairs:
        yield from _leaves(f"{name}.{key}" if name else key, inner)
