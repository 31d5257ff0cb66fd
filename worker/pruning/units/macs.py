"""Multiply-accumulates of every product in a graph, as products of axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import fx

from secateur.units import Term
from worker.program.operators import name
from worker.pruning.labels.spelling import argument

Lengths = Sequence[Term]
Of = Callable[[Any], Lengths]
"""The lengths of a node's axes."""
Product = Callable[[fx.Node, Of], Iterator[Lengths]]
"""A node and the lengths of all nodes' axes -> for each product of the node, the lengths to multiply."""


def _convolution(node: fx.Node, of: Of) -> Iterator[Lengths]:
    """One for each entry of the output (transposed: of the input), input channel of its group and kernel position."""
    transposed = name(node.target).startswith("conv_transpose") or argument(node, "transposed", False)
    yield [*of(node.args[0] if transposed else node), *of(node.args[1])[1:]]


def _linear(node: fx.Node, of: Of) -> Iterator[Lengths]:
    yield [*of(node), of(node.args[1])[-1]]


def _product(node: fx.Node, of: Of) -> Iterator[Lengths]:
    yield [*of(node), of(node.args[0])[-1]]


def _added_product(node: fx.Node, of: Of) -> Iterator[Lengths]:
    yield [*of(node), of(node.args[1])[-1]]


def _added_batches(node: fx.Node, of: Of) -> Iterator[Lengths]:
    """addbmm sums over the batch."""
    yield [*of(node.args[1]), of(node.args[2])[-1]]


def _tensordot(node: fx.Node, of: Of) -> Iterator[Lengths]:
    lengths: Any = of(node.args[0])
    axes: Any = node.args[2]
    yield [*of(node), *(lengths[axis] for axis in axes)]


def _attention(node: fx.Node, of: Of) -> Iterator[Lengths]:
    """Queries by keys, then weights by values; causal attention and masks are counted whole."""
    query, key = of(node.args[0]), of(node.args[1])
    output = of(node)
    yield [*output[:-1], key[-2], query[-1]]
    yield [*output, key[-2]]


def _recurrent(node: fx.Node, of: Of) -> Iterator[Lengths]:
    """Every matrix once for each token."""
    matrices: Any = node.args[2] if isinstance(node.args[2], list | tuple) else node.args[2:4]
    for matrix in matrices:
        if len(of(matrix)) == 2:
            yield [*of(node.args[0])[:-1], *of(matrix)]


def _bilinear(node: fx.Node, of: Of) -> Iterator[Lengths]:
    yield [*of(node), *of(node.args[2])[1:]]


def _einsum(node: fx.Node, of: Of) -> Iterator[Lengths]:
    """From left to right, two operands at a time, as torch does; two that share no axis to sum are only multiplied."""
    given: Any = node.args
    terms, output = _letters(given[0], [len(of(operand)) for operand in given[1]])
    operands = [_long(term, of(operand)) for term, operand in zip(terms, given[1], strict=True)]
    left = operands[0]
    for index, right in enumerate(operands[1:], start=2):
        needed = output.union(*operands[index:])
        summed = (left.keys() & right.keys()) - needed
        both = {letter: length for letter, length in (left | right).items() if letter in needed | summed}
        if summed:
            yield list(both.values())
        left = {letter: length for letter, length in both.items() if letter in needed}


def _long(term: Sequence[str], lengths: Lengths) -> dict[str, Term]:
    """Axes by letter; those of size 1 are repeated where another operand has more."""
    return {letter: length for letter, length in zip(term, lengths, strict=True) if length != Term()}


def _letters(equation: str, axes: Sequence[int]) -> tuple[list[list[str]], set[str]]:
    """The letters of each operand's axes and of the output; axes behind `...` get names of their own, from the last."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = []
    for term, count in zip(inputs.split(","), axes, strict=True):
        before, dots, after = term.partition("...")
        hidden = range(count - len(before) - len(after), 0, -1) if dots else ()
        terms.append([*before, *(f".{index}" for index in hidden), *after])
    known = [letter for term in terms for letter in set(term)]
    if arrow:
        kept = {letter for letter in known if letter in output or (letter.startswith(".") and "..." in output)}
    else:
        kept = {letter for letter in known if letter.startswith(".") or inputs.count(letter) == 1}
    return terms, kept


MACS: dict[str, Product] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "inner"), _product),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), _added_product),
    "addbmm": _added_batches,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "bilinear": _bilinear,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _recurrent),
}
"""Every operator that multiplies and accumulates, by name."""
