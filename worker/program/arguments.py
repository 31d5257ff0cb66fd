"""The values that operators are called with, from the schema to Python; names become nodes of the new graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from secateur.errors import CorruptArchive, UnsupportedOperator, UnsupportedStructure
from worker.program import schema
from worker.program.tensors import DTYPES, STRIDED, dtype_of

MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}

# Types of arguments that torch takes plain numbers for, and looks up in tables whose ends it does not check.
ENUMS: dict[str, type] = {
    "ScalarType": torch.dtype,
    "Layout": torch.layout,
    "MemoryFormat": torch.memory_format,
    "Device": torch.device,
}

Lookup = Callable[[str], Any]


def value_of(argument: schema.Argument, lookup: Lookup) -> Any:
    """The Python value; raises UnsupportedStructure for kinds that are not handled, CorruptArchive for missing ones."""
    kind = argument.kind
    if kind not in _VALUES:
        raise UnsupportedStructure(f"An operator takes or gives a value of the kind {kind}, which is not handled.")
    value = getattr(argument, kind)
    if value is None and kind != "as_none":
        raise CorruptArchive(f"An operator takes a value of the kind {kind} that is missing.")
    return _VALUES[kind](value, lookup)


def check_enum(argument: torch.Argument, value: object) -> None:
    """Raises CorruptArchive where a data type, layout, memory format or device is given as something else."""
    expected = ENUMS.get(str(argument.real_type).removeprefix("Optional[").removesuffix("]"))
    if expected is None or value is None:
        return
    if not isinstance(value, expected) or (isinstance(value, torch.dtype) and value not in DTYPES.values()):
        raise CorruptArchive(
            f"The argument {argument.name} of an operator is a {type(value).__name__}, not a {expected.__name__}."
        )


def _float(value: float | str) -> float:
    return float(value.replace("Infinity", "inf")) if isinstance(value, str) else value


def _symbolic(value: schema.Symbolic, lookup: Lookup) -> Any:
    if value.as_name is not None:
        return lookup(value.as_name)
    literal = getattr(value, value.kind)
    if literal is None:
        raise CorruptArchive("A number is missing.")
    return _float(literal) if value.kind == "as_float" else literal


def _optional(value: schema.OptionalTensor, lookup: Lookup) -> Any:
    return None if value.as_tensor is None else lookup(value.as_tensor.name)


def _memory_format(number: int, _: Lookup) -> torch.memory_format:
    if number not in MEMORY_FORMATS:
        raise CorruptArchive(f"There is no memory format {number}.")
    return MEMORY_FORMATS[number]


def _layout(number: int, _: Lookup) -> torch.layout:
    if number != STRIDED:
        raise UnsupportedStructure("The program makes tensors that are not dense.")
    return torch.strided


def _string(text: str, _: Lookup) -> str:
    if not (text.isascii() and text.isprintable() and len(text) <= 256):
        raise UnsupportedOperator(f"An operator takes the text {text[:100]!r}; short printable ASCII is allowed.")
    return text


def _complex(value: schema.Complex, _: Lookup) -> complex:
    return complex(_float(value.real), _float(value.imag))


def _list(one: Callable[[Any, Lookup], Any]) -> Callable[[Any, Lookup], list[Any]]:
    return lambda values, lookup: [one(value, lookup) for value in values]


def _plain(value: Any, _: Lookup) -> Any:
    return value


def _tensor(value: schema.TensorName, lookup: Lookup) -> Any:
    return lookup(value.name)


_VALUES: Mapping[str, Callable[[Any, Lookup], Any]] = {
    "as_none": lambda value, lookup: None,
    "as_tensor": _tensor,
    "as_tensors": _list(_tensor),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _list(_optional),
    "as_int": _plain,
    "as_ints": _list(_plain),
    "as_float": lambda value, lookup: _float(value),
    "as_floats": _list(lambda value, lookup: _float(value)),
    "as_bool": _plain,
    "as_bools": _list(_plain),
    "as_string": _string,
    "as_strings": _list(_string),
    "as_complex": _complex,
    "as_sym_int": _symbolic,
    "as_sym_ints": _list(_symbolic),
    "as_sym_float": _symbolic,
    "as_sym_floats": _list(_symbolic),
    "as_sym_bool": _symbolic,
    "as_sym_bools": _list(_symbolic),
    "as_scalar_type": lambda value, lookup: dtype_of(value),
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    # Whatever device the file was exported on: a program is read on the CPU and moved as a whole.
    "as_device": lambda value, lookup: torch.device("cpu"),
}
