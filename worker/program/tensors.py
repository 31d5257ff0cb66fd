"""The parameters and buffers of a `.pt2`: raw bytes and a JSON that says what they mean, never a pickle."""

from __future__ import annotations

import keyword
import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from secateur.errors import CorruptArchive, UnsafeArchive, UnsupportedStructure
from worker.program.archive import Archive
from worker.program.layout import Payload, PayloadConfig, Size, TensorMeta
from worker.program.wire import parse

DTYPES: dict[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    28: torch.uint16,
    34: torch.uint32,
    35: torch.uint64,
}
STRIDED = 7
# Buffers may be expanded; together all tensors may take this, and twice the file.
DENSE_BYTES_MAX = 1 << 30
NAME_MAX = 256

NAME = re.compile(r"[A-Za-z0-9_\-]{1,128}(\.[A-Za-z0-9_\-]{1,128}){0,63}", re.ASCII)


@dataclass
class State:
    """All tensors of a file by their full names; names that share one tensor map to the same object."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    transient: set[str] = field(default_factory=set)
    """Names that are no part of the state dict: buffers that are not persistent, constants."""


def dtype_of(number: int) -> torch.dtype:
    """The dtype behind torch's ScalarType number; raises UnsupportedStructure."""
    if number not in DTYPES:
        raise UnsupportedStructure(f"The program uses the data type number {number}, which is not handled here.")
    return DTYPES[number]


def read_state(archive: Archive) -> State:
    """Reads weights and constants; raises CorruptArchive, UnsafeArchive or UnsupportedStructure."""
    state = State()
    left = 2 * archive.size_bytes + DENSE_BYTES_MAX
    for kind, stem in (("weights", "weight_"), ("constants", "tensor_")):
        member = f"data/{kind}/model_{kind}_config.json"
        config = parse(PayloadConfig, archive.text(member), member).config
        storages: dict[str, bytearray] = {}
        shared: dict[object, Tensor] = {}
        for name, payload in config.items():
            _check_name(name, state)
            meta = _checked(name, payload, stem)
            path = f"data/{kind}/{payload.path_name}"
            if path not in storages:
                storages[path] = archive.storage(path)
            key = (path, payload.is_param, meta.model_dump_json())
            if key not in shared:
                shared[key] = _tensor(name, storages[path], meta, payload.is_param, left)
                left -= shared[key].nbytes
            state.tensors[name] = shared[key]
    return state


def _check_name(name: str, state: State) -> None:
    if not NAME.fullmatch(name):
        raise UnsafeArchive(
            f"The archive names a tensor {name[:100]!r}; letters, digits, '_', '-' and dots are allowed."
        )
    if len(name) > NAME_MAX:
        raise UnsupportedStructure(
            f"The tensor {name[:100]!r} has a name of {len(name)} characters; at most {NAME_MAX} are allowed."
        )
    word = next((part for part in name.split(".") if keyword.iskeyword(part)), None)
    if word is not None:
        raise UnsupportedStructure(
            f"The tensor {name!r} has {word!r}, a word of Python's own, in its name. Rename the module or parameter."
        )
    taken = next(
        (part for part in name.split(".") if hasattr(torch.fx.GraphModule, part) or part.startswith("__")), None
    )
    if taken is not None:
        raise UnsupportedStructure(
            f"The tensor {name!r} has {taken!r} in its name, which torch.fx uses itself. Rename it."
        )
    if name in state.tensors:
        raise CorruptArchive(f"The archive has two tensors with the name {name!r}.")


def _checked(name: str, payload: Payload, stem: str) -> TensorMeta:
    if payload.use_pickle or payload.tensor_meta is None:
        raise UnsafeArchive(f"The tensor {name!r} is a pickle, and opening it would run code.")
    if not re.fullmatch(stem + r"\d{1,9}", payload.path_name, re.ASCII):
        raise UnsafeArchive(f"The tensor {name!r} lies in {payload.path_name[:100]!r}, where no tensor belongs.")
    if payload.tensor_meta.layout != STRIDED:
        raise UnsupportedStructure(f"The tensor {name!r} is not dense. Call to_dense() before export.")
    return payload.tensor_meta


def _number(name: str, size: Size) -> int:
    if size.as_int is None or size.as_int < 0:
        raise CorruptArchive(f"The tensor {name!r} has a size, stride or offset that is not a number from 0 on.")
    return size.as_int


def _tensor(name: str, storage: bytearray, meta: TensorMeta, is_parameter: bool, bytes_max: int) -> Tensor:
    dtype = dtype_of(meta.dtype)
    sizes = [_number(name, size) for size in meta.sizes]
    strides = [_number(name, stride) for stride in meta.strides]
    offset = _number(name, meta.storage_offset)
    if len(sizes) != len(strides) or len(storage) % dtype.itemsize:
        raise CorruptArchive(
            f"The tensor {name!r} has {len(sizes)} sizes, {len(strides)} strides, {len(storage)} bytes."
        )
    numbers = math.prod(sizes)
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if numbers and offset + last >= len(storage) // dtype.itemsize:
        raise CorruptArchive(f"The tensor {name!r} reaches beyond the end of its storage.")
    if numbers * dtype.itemsize > bytes_max:
        raise UnsafeArchive("The tensors of the archive are far larger than the file that holds them.")
    if numbers > last + 1 and is_parameter:
        raise UnsafeArchive(f"The tensor {name!r} has elements that lie on top of each other.")
    tensor = _view(storage, dtype, sizes, strides, offset) if numbers else torch.empty(sizes, dtype=dtype)
    if not is_parameter:
        return tensor
    trains = meta.requires_grad and (dtype.is_floating_point or dtype.is_complex)
    return nn.Parameter(tensor, requires_grad=trains)


def _view(storage: bytearray, dtype: torch.dtype, sizes: list[int], strides: list[int], offset: int) -> Tensor:
    """A tensor over the storage, or of its own where the storage holds more: what is written is a whole storage."""
    if dtype == torch.bool:
        # A bool that is neither 0 nor 1 is undefined behaviour in C++, and indexing by it reads past the end.
        flat = torch.frombuffer(storage, dtype=torch.uint8).ne(0)
    else:
        flat = torch.frombuffer(storage, dtype=dtype)
    tensor = flat.as_strided(sizes, strides, offset)
    return tensor if flat.numel() == tensor.numel() else tensor.contiguous().clone()
