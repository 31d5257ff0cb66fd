"""Arithmetic with sizes: Python's integers have no end, so what a program may compute with them is bounded here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import fx
from torch._ops import OpOverload

from secateur.errors import UnsupportedOperator
from worker.program.operators import SYMBOLIC
from worker.program.program import gives_tensor

BITS = "bits"
BITS_MAX = 4096
EXPONENT_MAX = 64
MEASURED_BITS = 63

PRODUCTS = frozenset(SYMBOLIC[f"_operator.{name}"] for name in ("mul", "truediv", "floordiv"))
POWER = SYMBOLIC["_operator.pow"]


def check(node: fx.Node) -> None:
    """Bounds the number that a node computes from other numbers, and notes the bound for those who use it.

    Raises UnsupportedOperator for numbers of more than 4096 bits, exponents that are not literals up to 64, and where
    an operator of Python is given text or a tensor.
    """
    if isinstance(node.target, OpOverload):
        return
    bits = [_bits(value) for value in _flat(node.args)]
    if node.target is POWER:
        needed = bits[0] * _exponent(node.args[1:])
    elif node.target in PRODUCTS:
        needed = sum(bits)
    else:
        needed = max(bits, default=0) + len(bits)
    if needed > BITS_MAX:
        raise UnsupportedOperator(
            f"The program computes numbers of up to {needed} bits from its sizes; at most {BITS_MAX} are allowed."
        )
    node.meta[BITS] = needed


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value


def _bits(value: object) -> int:
    """The bits ahead of, and behind, the point of a number."""
    if isinstance(value, fx.Node) and not gives_tensor(value):
        bits: int = value.meta.get(BITS, MEASURED_BITS)
        return bits
    if isinstance(value, int):
        return value.bit_length()
    if isinstance(value, float):
        return abs(math.frexp(value)[1]) if math.isfinite(value) else 0
    kind = "tensor" if isinstance(value, fx.Node) else type(value).__name__
    raise UnsupportedOperator(f"The program computes with a {kind} where only numbers are allowed.")


def _exponent(given: tuple[Any, ...]) -> int:
    literal = given[0] if len(given) == 1 else None
    if not isinstance(literal, int | float) or not abs(literal) <= EXPONENT_MAX:
        shown = "a number that varies" if isinstance(literal, fx.Node) else str(literal)[:100]
        raise UnsupportedOperator(
            f"The program takes a size to the power of {shown}; literals up to {EXPONENT_MAX} are allowed."
        )
    return math.ceil(abs(literal))
