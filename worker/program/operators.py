"""Resolves the operators that a file names: those of the catalogue, for a sane amount of memory."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._ops import OpOverload

from secateur.errors import RandomOperator, UnsafeArchive, UnsupportedOperator
from worker.program.catalogue import ALLOCATES, ALLOWED, ASSERTIONS, RANDOM
from worker.program.remedies import EXPORT

Target = OpOverload | Callable[..., Any]

NUMBERS_MAX = 1 << 30

SYMBOLIC_NAMES = (
    "add",
    "and_",
    "eq",
    "floordiv",
    "ge",
    "gt",
    "le",
    "lt",
    "mod",
    "mul",
    "ne",
    "neg",
    "or_",
    "pos",
    "pow",
    "sub",
    "truediv",
)
SYMBOLIC: dict[str, Target] = {
    **{f"_operator.{name}": getattr(operator, name) for name in SYMBOLIC_NAMES},
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "torch.sym_float": torch.sym_float,
    "torch.sym_int": torch.sym_int,
    "torch.sym_ite": torch.sym_ite,
    "torch.sym_max": torch.sym_max,
    "torch.sym_min": torch.sym_min,
    "torch.sym_not": torch.sym_not,
    "torch.sym_sum": torch.sym_sum,
}

_ATEN = re.compile(r"torch\.ops\.aten\.(\w{1,64})\.(\w{1,64})", re.ASCII)


def resolve(target: str) -> Target:
    """The operator that a file names; raises UnsupportedOperator for every name that is not on the list."""
    if target in SYMBOLIC:
        return SYMBOLIC[target]
    match = _ATEN.fullmatch(target)
    if match and match[1] in ALLOWED | ASSERTIONS:
        packet = getattr(torch.ops.aten, match[1], None)
        overload = getattr(packet, match[2], None) if match[2] in _overloads(packet) else None
        if isinstance(overload, OpOverload) and _is_safe(overload):
            return overload
    raise UnsupportedOperator(
        f"The program calls {target[:200]!r}, which is not on the list of operators known to be safe.",
        operator=target[:200],
    )


def _is_safe(overload: OpOverload) -> bool:
    """Whether it works on tensors, unlike TorchScript's operators on numbers, texts and lists, and gives a new value.

    Packed sequences are not safe: the sizes of their batches are what a tensor says, unchecked.
    """
    schema = overload._schema
    if schema.name.removeprefix("aten::") in ASSERTIONS:
        return True  # left out when read
    tensors = any("Tensor" in str(value.type) for value in (*schema.arguments, *schema.returns))
    known = torch._C._dispatch_has_kernel(overload.name())  # type: ignore[no-untyped-call]
    packed = any(argument.name == "batch_sizes" for argument in schema.arguments)
    return tensors and known and not packed and not any(argument.is_out for argument in schema.arguments)


def _overloads(packet: Any) -> list[str]:
    return [] if packet is None else packet.overloads()


def name(target: object) -> str:
    """The name of an ATen operator without its overload (`conv2d`), "" for anything else."""
    return target._schema.name.removeprefix("aten::") if isinstance(target, OpOverload) else ""


def check_deterministic(targets: Iterable[str]) -> None:
    """Raises RandomOperator for the first operator that draws random numbers whenever it runs."""
    for target in targets:
        match = _ATEN.fullmatch(target)
        if match and match[1] in RANDOM:
            raise RandomOperator(
                f"The program calls aten.{match[1]}, which draws random numbers each time it runs: it was exported in"
                " training mode. Call eval() before export.",
                remedy=EXPORT,
                operator=match[1],
            )


def check_memory(target: Target, values: Iterable[object]) -> None:
    """Raises UnsafeArchive when the literal sizes of an operator ask for more than 2^30 numbers."""
    if name(target).removesuffix("_") not in ALLOCATES:
        return
    for value in values:
        sizes = [value] if isinstance(value, int) else value if isinstance(value, list | tuple) else []
        asked = math.prod(size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size > 1)
        if asked > NUMBERS_MAX:
            raise UnsafeArchive(f"The program calls aten.{name(target)} for {asked} numbers, more than {NUMBERS_MAX}.")
