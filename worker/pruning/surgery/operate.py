"""Cuts removed units out of a program: smaller tensors, and every literal of the graph that spoke of the old sizes."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload

from secateur.errors import SurgeryFailed
from worker.program.effects import keeps
from worker.program.operators import name
from worker.program.program import Program, assemble, named_tensors, transient_names
from worker.pruning.cut import Cut, part
from worker.pruning.labels.labelling import Labelling
from worker.pruning.surgery.draft import Draft
from worker.pruning.surgery.layers import LAYERS
from worker.pruning.surgery.moves import check_move
from worker.pruning.surgery.places import PLACES
from worker.pruning.surgery.shapes import SHAPES
from worker.pruning.surgery.site import Call, Rewrite, Site

LITERALS: dict[str, Rewrite] = {**SHAPES, **PLACES, **LAYERS}
"""By the name of an operator, without the underscore of those that work in place: what its literals become."""


def operate(lab: Labelling, cut: Cut) -> Program:
    """A new program without the removed units: same names, inputs, sizes and outputs; `lab.program` stays as it is.

    Operators whose literals hold no size of what is cut stay as they are. Float literals stay, too: a function that
    divides by the square root of 64 goes on doing so. Whatever moves entries is checked on coordinates, node by node.
    Raises SurgeryFailed, naming the node, where nothing would be left of a value or a literal cannot follow the cut.
    """
    draft = Draft(cut)
    for node in lab.program.module.graph.nodes:
        _check_occupied(node, cut)
        if _is_touched(node, cut) and name(node.target):
            _write(node, cut, draft)
        else:
            draft.copy(node)
    draft.graph.eliminate_dead_code(is_impure_node=keeps)
    return _program(lab.program, cut, draft)


def _write(node: fx.Node, cut: Cut, draft: Draft) -> None:
    """Adds a node with literals that fit, and checks it where it moves entries."""
    assert isinstance(node.target, OpOverload)
    site = Site(node, Call(node.target, draft.here(node.args), draft.here(node.kwargs)), cut, draft)
    rewrite = LITERALS.get(_plain(node.target))
    if rewrite is None:
        draft.copy(node)
    else:
        rewrite(site)
        args, kwargs = site.call.spelled()
        draft.nodes[node] = draft.graph.create_node("call_function", site.call.target, args, kwargs, node.name)
    check_move(node, draft.nodes[node], cut, draft)


def _plain(target: OpOverload) -> str:
    called = name(target)
    return called.removesuffix("_") if not called.endswith("__") else called


def _is_touched(node: fx.Node, cut: Cut) -> bool:
    """Whether a call gives or is given something that becomes smaller."""
    return node.op == "call_function" and any(cut.touches(value) for value in (node, *node.all_input_nodes))


def _check_occupied(node: fx.Node, cut: Cut) -> None:
    if any(kept is not None and not bool(kept.any()) for axes in cut.items(node) for kept in axes):
        raise SurgeryFailed(f"Nothing would be left of {node.name}. Keep at least one unit of it.", node=node.name)


def _program(before: Program, cut: Cut, draft: Draft) -> Program:
    tensors: dict[str, Tensor] = {}
    sliced: dict[int, Tensor] = {}
    for title, tensor in named_tensors(before.module):
        if id(tensor) not in sliced:
            sliced[id(tensor)] = _sliced(tensor, cut, title)
        tensors[title] = sliced[id(tensor)]
    transient = transient_names(before.module) | (draft.constants.keys() - tensors.keys())
    module = assemble(draft.graph, tensors | draft.constants, transient)
    masks = {title: cut.slice(title, mask).clone() for title, mask in before.masks.items()}
    return Program(module, before.inputs, dict(before.sizes), before.batch_kind, masks, before.notes, before.written_by)


def _sliced(tensor: Tensor, cut: Cut, title: str) -> Tensor:
    """What stays of a tensor, in memory of its own."""
    with torch.no_grad():
        small = part(tensor.detach(), cut.tensor(title)).clone()
    return nn.Parameter(small, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else small
