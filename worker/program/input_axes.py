"""Along which axis of a stored weight the inputs lie that its operator adds up for one output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from worker.program.catalogue import CASTS
from worker.program.layers import PASSES, takes
from worker.program.operators import name
from worker.program.program import Program

Summed = Callable[[fx.Node, fx.Node, Tensor], int | None]
"""(an operator, its operand that is the weight, the weight as it arrives there) -> the axis of it that is summed over;
of several the last; None where that is not told."""

SAME_ENTRIES = CASTS | {"alias", "clone", "contiguous", "detach", "lift_fresh_copy", "resolve_conj", "resolve_neg"}
"""What gives the same entries at the same places, wherever they lie in memory."""


def input_axes(program: Program, names: Iterable[str]) -> dict[str, int]:
    """The input axis of each of the prunable parameters `names`; those are left out that have none or an unclear one.

    A linear layer's weight (out, in) has axis 1; a convolution's (out, in / groups, ...) axis 1, the channels, where
    NVIDIA's ASP puts its blocks too (Mishra et al. 2021); a transposed convolution's (in, out / groups, ...) axis 0,
    unless it has groups, which share that axis; the second operand of `x @ w` its rows; a recurrent layer's (gates, in)
    axis 1. An embedding adds nothing up: its axis is that of another operator that takes the same tensor, if there is
    one. Views are followed as long as the whole axis arrives at the operator as one axis.
    """
    aliases = dict(program.module.named_parameters(remove_duplicate=False))
    wanted = {id(aliases[first]): first for first in names}
    found: dict[str, int] = {}
    for node in program.module.graph.find_nodes(op="get_attr"):
        weight = aliases.get(str(node.target))
        first = wanted.get(id(weight))
        if weight is not None and first is not None and first not in found:
            axis = next(_axes(node, weight.shape), None)
            found |= {} if axis is None else {first: axis}
    return found


def _axes(weight: fx.Node, shape: torch.Size) -> Iterator[int]:
    """The axis at each use that tells one. Nothing is computed: strides on the meta device say where an axis went."""
    whole = torch.empty(shape, device="meta")
    waiting, seen = [(weight, whole)], {weight}
    while waiting:
        node, tensor = waiting.pop(0)
        for user in node.users:
            operator = name(user.target)
            if takes(user, operator, node):
                summed = SUMMED[operator](user, node, tensor) if operator in SUMMED else None
                axis = None if summed is None else _origin(tensor, summed, whole)
                yield from () if axis is None else (axis,)
            elif operator in PASSES and user.args[0] is node and user not in seen:
                seen.add(user)
                moved = _moved(user, operator, tensor)
                waiting += [] if moved is None else [(user, moved)]


def _origin(tensor: Tensor, axis: int, whole: Tensor) -> int | None:
    """The axis of the stored weight that an axis of a view of it is, all of it."""
    if not -tensor.dim() <= axis < tensor.dim():
        return None
    if tensor is whole:
        return axis % whole.dim()
    size, stride = tensor.shape[axis], tensor.stride(axis)
    same = [at for at in range(whole.dim()) if size > 1 and (whole.shape[at], whole.stride(at)) == (size, stride)]
    return same[0] if same else None


def _moved(user: fx.Node, operator: str, tensor: Tensor) -> Tensor | None:
    """The view that an operator gives; None where it copies, or depends on what is not known here."""
    if operator in SAME_ENTRIES:
        return tensor
    others = (*user.args[1:], *user.kwargs.values())
    if not isinstance(user.target, OpOverload) or any(isinstance(each, fx.Node) for each in _flat(others)):
        return None
    with torch.no_grad():
        moved = user.target(tensor, *user.args[1:], **user.kwargs)
    one = isinstance(moved, Tensor)
    return moved if one and moved.untyped_storage()._cdata == tensor.untyped_storage()._cdata else None


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, list | tuple) else (value,)


def _at(axis: int) -> Summed:
    return lambda user, node, tensor: axis


def _convolved(user: fx.Node, node: fx.Node, tensor: Tensor) -> int | None:
    """`convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)`."""
    transposed, groups = user.args[6], user.args[8]
    if not transposed:
        return 1
    return 0 if groups == 1 else None


def _transposed(user: fx.Node, node: fx.Node, tensor: Tensor) -> int | None:
    """`conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)`."""
    groups = user.args[6] if len(user.args) > 6 else user.kwargs.get("groups", 1)
    return 0 if groups == 1 else None


def _product(first: int) -> Summed:
    """Of `a @ b`, where `a` is the argument number `first`: the last axis of `a`, the last but one of `b`."""
    return lambda user, node, tensor: -1 if user.args[first] is node else -min(2, tensor.dim())


def _tensordot(user: fx.Node, node: fx.Node, tensor: Tensor) -> int | None:
    """`tensordot(a, b, axes of a, axes of b)`."""
    axes: Any = user.args[2 if user.args[0] is node else 3]
    return axes[-1] if axes else None


def _einsum(user: fx.Node, node: fx.Node, tensor: Tensor) -> int | None:
    """`einsum(equation, operands)`: the last letter of the weight that another operand has too, and the result not."""
    equation, operands = user.args[:2]
    terms, _, result = str(equation).replace(" ", "").partition("->")
    term = terms.split(",")[list(operands).index(node)]  # type: ignore[arg-type]
    once = {letter for letter in term if terms.count(letter) == 1}
    summed = [letter for letter in term if letter.isalpha() and letter not in once and letter not in result]
    if "." in term or not summed or len(set(term)) != len(term):
        return None
    return term.index(summed[-1])


SUMMED: dict[str, Summed] = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), _at(1)),
    "convolution": _convolved,
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), _product(0)),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm"), _product(1)),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _at(1)),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _at(1)),
    "bilinear": _at(2),
    "tensordot": _tensordot,
    "einsum": _einsum,
}
