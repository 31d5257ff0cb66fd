"""Matrix products in all their spellings, and attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from worker.pruning.labels.contraction import Operand
from worker.pruning.labels.planes import Plane, Planes
from worker.pruning.labels.spelling import argument
from worker.pruning.labels.tracer import Result, Rule, Tracer, letters

SOFTMAX = "a softmax across the units"


def linear(tracer: Tracer, node: fx.Node) -> Result:
    """(..., k) and (o, k) to (..., o), then the bias."""
    source, weight = node.args[:2]
    shape = tracer.shape(node)
    axes = letters(len(shape))
    assert isinstance(source, fx.Node)
    assert isinstance(weight, fx.Node)
    operands = [tracer.operand(source, [*axes[:-1], "k"]), tracer.operand(weight, [axes[-1], "k"])]
    return plus(tracer, tracer.contract(operands, axes, shape), shape, argument(node, "bias"), axes)


def plus(tracer: Tracer, planes: Planes, shape: tuple[int, ...], bias: Any, axes: Sequence[str]) -> Planes:
    """The planes of a result after a bias was added to its last axes, those under the last of `axes`."""
    if not isinstance(bias, fx.Node):
        return planes
    return tracer.contract([Operand(planes, shape, letters(len(shape))), tracer.operand(bias, axes)], *_of(shape))


def matmul(tracer: Tracer, node: fx.Node) -> Result:
    """(..., m, k) and (..., k, n), either of them perhaps a vector."""
    one, other = node.args[:2]
    assert isinstance(one, fx.Node)
    assert isinstance(other, fx.Node)
    left, right = _whole(tracer, one), _whole(tracer, other)
    return _product(tracer, left, right, tracer.shape(node))


def outer(tracer: Tracer, node: fx.Node) -> Result:
    """Every entry of one vector times every entry of another."""
    one, other = node.args[:2]
    assert isinstance(one, fx.Node)
    assert isinstance(other, fx.Node)
    return tracer.contract([tracer.operand(one, ["m"]), tracer.operand(other, ["n"])], ["m", "n"], tracer.shape(node))


def add_product(tracer: Tracer, node: fx.Node) -> Result:
    """A tensor plus a product of two others."""
    added, one, other = node.args[:3]
    assert isinstance(one, fx.Node)
    assert isinstance(other, fx.Node)
    shape = tracer.shape(node)
    product = _product(tracer, _whole(tracer, one), _whole(tracer, other), shape)
    return plus(tracer, product, shape, added, letters(len(shape)))


def einsum(tracer: Tracer, node: fx.Node) -> Result:
    """What the equation says; an ellipsis stands for axes from the last on."""
    equation: Any = node.args[0]
    tensors: Any = node.args[1]
    given, arrow, result = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    if not arrow:
        counts = "".join(terms)
        result = ("..." if "..." in counts else "") + "".join(
            sorted(c for c in set(counts) - {"."} if counts.count(c) == 1)
        )
    spread = [_spread(term, len(tracer.shape(tensor))) for term, tensor in zip(terms, tensors, strict=True)]
    if any(len(set(axes)) != len(axes) for axes in spread):
        return tracer.unknown(node)
    operands = [tracer.operand(tensor, axes) for tensor, axes in zip(tensors, spread, strict=True)]
    shape = tracer.shape(node)
    return tracer.contract(operands, _spread(result, len(shape)), shape)


def attention(tracer: Tracer, node: fx.Node) -> Result:
    """softmax(q k^T + mask) v; keys and values of grouped queries are repeated along the heads."""
    query, key, value = node.args[:3]
    mask = argument(node, "attn_mask")
    assert isinstance(query, fx.Node)
    q = _whole(tracer, query)
    k, v = (_repeated(_whole(tracer, given), q) for given in (key, value))  # type: ignore[arg-type]
    shape = (*q.shape[:-1], k.shape[-2])
    batch = letters(len(shape))[:-2]
    axes = [*batch, "axis-2", "axis-1"]
    operands = [_lettered(q, [*batch, "axis-2", "k"]), _lettered(k, [*batch, "axis-1", "k"])]
    scores = plus(tracer, tracer.contract(operands, axes, shape), shape, mask, axes)
    weights = []
    for plane in scores:
        if len(shape) - 1 in plane.axes:
            tracer.book.freeze(plane, SOFTMAX)
        else:
            weights.append(plane)
    return _product(tracer, Operand(weights, shape, axes), v, tracer.shape(node))


def _product(tracer: Tracer, left: Operand, right: Operand, shape: tuple[int, ...]) -> Planes:
    rows, columns = len(left.shape) > 1, len(right.shape) > 1
    ahead = max(len(left.shape), len(right.shape), 2) - 2
    batch = [f"batch{index - ahead}" for index in range(ahead)]
    one = [*batch[ahead - len(left.shape) + 2 :], "m", "k"] if rows else ["k"]
    other = [*batch[ahead - len(right.shape) + 2 :], "k", "n"] if columns else ["k"]
    result = batch + (["m"] if rows else []) + (["n"] if columns else [])
    return tracer.contract([_lettered(left, one), _lettered(right, other)], result, shape)


def _whole(tracer: Tracer, node: fx.Node) -> Operand:
    return tracer.operand(node, letters(len(tracer.shape(node))))


def _lettered(operand: Operand, axes: Sequence[str]) -> Operand:
    return Operand(operand.planes, operand.shape, axes, operand.constant)


def _repeated(operand: Operand, query: Operand) -> Operand:
    """Keys or values (..., h, n, d) as they meet the heads of the queries."""
    if len(operand.shape) < 4 or operand.shape[-3] in (1, query.shape[-3]):
        return operand
    times = query.shape[-3] // operand.shape[-3]
    axis = len(operand.shape) - 3
    shape = (*operand.shape[:axis], query.shape[-3], *operand.shape[axis + 1 :])
    planes = [
        Plane(plane.tensor.repeat_interleave(times, axis)) if axis in plane.axes else plane.first((axis,)).expand(shape)
        for plane in operand.planes
    ]
    return Operand(planes, shape, operand.letters, operand.constant)


def _spread(term: str, rank: int) -> list[str]:
    before, ellipsis, after = term.partition("...")
    missing = rank - len(before) - len(after)
    return [*before, *(f"...{index - missing}" for index in range(missing)), *after] if ellipsis else [*term]


def _of(shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    return letters(len(shape)), shape


RULES: dict[str, Rule] = {
    "linear": linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot"), matmul),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), add_product),
    "outer": outer,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
