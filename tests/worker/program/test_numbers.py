"""Arithmetic with sizes stays small, and is about numbers only."""

from __future__ import annotations

import math
import operator

import pytest
import torch
from torch import fx

from secateur.errors import UnsupportedOperator
from worker.program.numbers import check


def size() -> tuple[fx.Graph, fx.Node]:
    """A graph and a size in it."""
    graph = fx.Graph()
    return graph, graph.call_function(torch.ops.aten.sym_size.int, (graph.placeholder("x"), 0))


def test_what_exports_write_is_allowed() -> None:
    graph, node = size()
    for target, other in ((operator.mul, 4), (operator.floordiv, 2), (operator.add, -1), (operator.pow, 2)):
        node = graph.call_function(target, (node, other))
        check(node)
    half = graph.call_function(operator.truediv, (node, 0.5))
    check(half)
    check(graph.call_function(math.floor, (half,)))
    check(graph.call_function(torch.sym_sum, ([node, half, 3],)))


def test_squaring_again_and_again_is_refused() -> None:
    graph, node = size()
    for _ in range(6):
        node = graph.call_function(operator.mul, (node, node))
        check(node)
    with pytest.raises(UnsupportedOperator, match="4096 are allowed"):
        check(graph.call_function(operator.mul, (node, node)))


@pytest.mark.parametrize("exponent", [65, 2**62, -(2**62), float("nan"), "size"])
def test_powers_are_bounded(exponent: object) -> None:
    graph, node = size()
    with pytest.raises(UnsupportedOperator, match="power"):
        check(graph.call_function(operator.pow, (node, node if exponent == "size" else exponent)))


@pytest.mark.parametrize("other", ["text", None, "tensor"])
def test_what_is_no_number_is_refused(other: object) -> None:
    graph, node = size()
    given = next(iter(graph.nodes)) if other == "tensor" else other
    with pytest.raises(UnsupportedOperator, match="only numbers"):
        check(graph.call_function(operator.mul, (node, given)))
