"""How what does not fit is told: a code, a pointer into the spec, and a sentence with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secateur.errors import DataMismatch
from secateur.inspection import ArrayInfo, TensorInfo
from secateur.resources import Finding

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
INTEGERS = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"})
NAMES_SHOWN = 8
NAME_SHOWN = 100


def problem(code: str, pointer: str, message: str) -> Finding:
    """What does not fit, with a pointer to where the spec says it."""
    return Finding(code=code, pointer=pointer, message=message)


def missing(pointer: str, name: str, purpose: str, arrays: Iterable[str], hint: str) -> Finding:
    """An array that is not there."""
    message = f"The data set has no array {name!r} for {purpose}; it has {listed(arrays)}. Add it, or {hint}."
    return problem(DataMismatch.code, pointer, message)


def mismatch(pointer: str, array: ArrayInfo, found: str, tensor: TensorInfo, expected: str) -> Finding:
    """An array that is another than a tensor of the model needs."""
    message = f"Array {array.name!r} {found}; {expected} is expected for {tensor.name!r} of the model."
    return problem(DataMismatch.code, pointer, message)


def listed(names: Iterable[str]) -> str:
    """Some of the names: they come from an upload, which may hold any number of any length."""
    known = list(names)
    shown = ", ".join(repr(name[:NAME_SHOWN]) for name in known[:NAMES_SHOWN])
    return f"{shown}, ... ({len(known)} in all)" if len(known) > NAMES_SHOWN else shown


def written(sizes: Iterable[int | str]) -> str:
    """A shape, as Python writes a tuple."""
    return f"({', '.join(str(size) for size in sizes)})"


def same_sizes(found: Sequence[int | str], expected: Sequence[int | str], sizes: dict[str, int | str]) -> bool:
    """Whether the axes after the first agree; an equal name stands for an equal size wherever it is."""
    if len(found) != len(expected):
        return False
    pairs = zip(found[1:], expected[1:], strict=True)
    return all(size == (sizes.setdefault(name, size) if isinstance(name, str) else name) for size, name in pairs)
