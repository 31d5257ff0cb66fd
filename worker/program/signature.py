"""What a program takes: names, data types and sizes of its inputs, from the metadata of the file."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from secateur.errors import CorruptArchive, UnsupportedStructure
from worker.program import layout, schema
from worker.program.program import BATCH, Input, Size
from worker.program.remedies import EXPORT, FLAT
from worker.program.structure import Structure, read_structure
from worker.program.tensors import STRIDED, dtype_of

NUMBERS_MAX = 1 << 28
INPUTS_MAX = 256
# Names that the code which torch.fx generates uses itself.
GENERATED = frozenset(
    (
        *("self", "torch", "math", "operator", "_operator", "device", "inf", "nan", "fx_pytree", "pytree", "NoneType"),
        *("getattr", "setattr", "slice", "range"),
    )
)
# How torch 2.11 to 2.15 write a plain symbol. Anything else would be an expression, which only evaluation could read.
SYMBOL = re.compile(r"Symbol\('([su]\d{1,9})'(?:, [a-z]+=(?:True|False))*\)|([su]\d{1,9})", re.ASCII)


@dataclass(frozen=True)
class Signature:
    """The inputs, the sizes that vary, and the batch size of a program exported for one only."""

    inputs: tuple[Input, ...]
    names: tuple[str, ...]
    """The inputs' names in the graph of the file."""
    sizes: dict[str, Size]
    fixed_batch: int | None
    notes: tuple[str, ...]


def read_signature(program: schema.ExportedProgram) -> Signature:
    """Raises UnsupportedStructure for inputs that are nested, no tensors, or not batches of examples."""
    specs = program.graph_module.signature.input_specs
    names = [_tensor_name(spec.user_input) for spec in specs if spec.user_input is not None]
    constants = [spec.constant_input.name[:64] for spec in specs if spec.constant_input is not None]
    if not names:
        raise UnsupportedStructure("The program takes no tensor.", remedy=EXPORT)
    if len(names) > INPUTS_MAX:
        raise UnsupportedStructure(f"The program takes {len(names)} tensors; at most {INPUTS_MAX} are allowed.")
    keywords = _keywords(program, specs)
    metas = [_meta(program.graph_module.graph, name) for name in names]
    read = _Sizes(program.range_constraints)
    shapes = [read.shape(name, meta) for name, meta in zip(names, metas, strict=True)]
    shapes, fixed = _batched(shapes, read.sizes)
    inputs = tuple(
        Input(_argument_name(name, index), dtype_of(meta.dtype), shape, name in keywords)
        for index, (name, meta, shape) in enumerate(zip(names, metas, shapes, strict=True))
    )
    if len({given.name for given in inputs}) != len(inputs):
        raise CorruptArchive("Two inputs of the program have the same name.")
    notes = (f"The arguments {', '.join(constants)} keep the values that they had at export.",) if constants else ()
    return Signature(inputs, tuple(names), read.sizes, fixed, notes)


def _tensor_name(value: schema.UserValue) -> str:
    if value.arg.as_tensor is None:
        raise UnsupportedStructure("An input of the program is no tensor, but a number that varies.", remedy=FLAT)
    return value.arg.as_tensor.name


def _argument_name(name: str, index: int) -> str:
    """A name that may stand in generated code: the file's own only if it is a short plain identifier."""
    plain = name.isascii() and name.isidentifier() and len(name) <= 64 and not name.startswith("__")
    return name if plain and not keyword.iskeyword(name) and name not in GENERATED else f"input_{index}"


def _keywords(program: schema.ExportedProgram, specs: list[schema.InputSpec]) -> set[str]:
    """The names of inputs that were keyword arguments; they come last. Nested inputs are refused."""
    call = program.graph_module.module_call_graph[0].signature
    if call is None:
        raise CorruptArchive("The program does not say how it is called.")
    structure = read_structure(call.in_spec, "The program's input")
    if [child.kind for child in structure.children] != ["tuple", "dict"]:
        raise CorruptArchive("The program's input is not a pair of positional and keyword arguments.")
    positional, named = structure.children
    flat: list[Structure] = [*positional.children, *named.children]
    given = [spec for spec in specs if spec.user_input is not None or spec.constant_input is not None]
    if any(child.kind != "leaf" for child in flat):
        raise UnsupportedStructure(
            "An input of the program is a list, tuple or dict; only tensors are handled.", remedy=FLAT
        )
    if len(flat) != len(given):
        raise CorruptArchive("The program's inputs do not fit its signature.")
    late = given[len(positional.children) :]
    return {_tensor_name(spec.user_input) for spec in late if spec.user_input is not None}


def _meta(graph: schema.Graph, name: str) -> layout.TensorMeta:
    if name not in graph.tensor_values:
        raise CorruptArchive(f"The input {name[:100]!r} has no shape.")
    try:
        meta = layout.TensorMeta.model_validate(graph.tensor_values[name])
    except ValueError as error:
        raise CorruptArchive(f"The shape of the input {name[:100]!r} cannot be read.") from error
    if meta.layout != STRIDED:
        raise UnsupportedStructure(f"The input {name[:100]!r} is not dense.", remedy=FLAT)
    return meta


class _Sizes:
    """Reads sizes; `sizes` collects those that vary."""

    def __init__(self, ranges: dict[str, schema.Range]) -> None:
        self._ranges = ranges
        self.sizes: dict[str, Size] = {}

    def shape(self, name: str, meta: layout.TensorMeta) -> tuple[int | str, ...]:
        """The shape of one input; a symbol along axis 0 is the batch."""
        shape = tuple(self._size(name, size) for size in meta.sizes)
        numbers = 1
        for entry in shape:
            numbers *= max(1, entry if isinstance(entry, int) else self.sizes[entry].minimum)
        if numbers > NUMBERS_MAX:
            raise UnsupportedStructure(
                f"One example of the input {name[:100]!r} holds more than {NUMBERS_MAX} numbers."
            )
        return shape

    def _size(self, name: str, size: layout.Size) -> int | str:
        if size.as_int is not None:
            if size.as_int < 1:
                raise UnsupportedStructure(f"The input {name[:100]!r} is empty.", remedy=EXPORT)
            return size.as_int
        match = SYMBOL.fullmatch(size.as_expr.expr_str) if size.as_expr is not None else None
        if match is None or size.as_expr is None:
            raise UnsupportedStructure(
                f"A size of the input {name[:100]!r} is computed from others. Give it a Dim of its own, or fix it.",
                remedy=EXPORT,
            )
        symbol: str = match[1] or match[2]
        self.sizes.setdefault(symbol, self._range(symbol, size.as_expr.hint))
        return symbol

    def _range(self, symbol: str, hint: object) -> Size:
        given = self._ranges.get(symbol, schema.Range(min_val=None, max_val=None))
        minimum = max(1, given.min_val or 1)
        maximum = given.max_val if given.max_val is None or given.max_val < 2**31 else None
        if maximum is not None and maximum < minimum:
            raise CorruptArchive(f"The size {symbol} has the empty range from {minimum} to {maximum}.")
        seen = hint.get("as_int") if isinstance(hint, dict) else None
        example = seen if isinstance(seen, int) and minimum <= seen <= min(maximum or 4096, 4096) else minimum
        return Size(minimum, maximum, example)


def _batched(
    shapes: list[tuple[int | str, ...]], sizes: dict[str, Size]
) -> tuple[list[tuple[int | str, ...]], int | None]:
    """Calls every symbol along axis 0 `batch`; returns the batch size instead where axis 0 does not vary at all."""
    if any(not shape for shape in shapes):
        raise UnsupportedStructure("An input has no axes; axis 0 of every input is the batch.", remedy=FLAT)
    first = {shape[0] for shape in shapes}
    symbols = {entry for entry in first if isinstance(entry, str)}
    if len(first - symbols) > (0 if symbols else 1):
        raise UnsupportedStructure(
            f"Axis 0 of every input is the batch, but here it is {', '.join(sorted(map(str, first)))}. Export with the"
            " batch along axis 0 of all inputs, and register what is no example as a buffer.",
            remedy=FLAT,
        )
    if not symbols:
        batch = next(entry for entry in first if isinstance(entry, int))
        sizes[BATCH] = Size(1, None, batch)
        return [(BATCH, *shape[1:]) for shape in shapes], batch
    sizes[BATCH] = _joined([sizes.pop(symbol) for symbol in sorted(symbols)])
    return [tuple(BATCH if entry in symbols else entry for entry in shape) for shape in shapes], None


def _joined(sizes: list[Size]) -> Size:
    minimum = max(size.minimum for size in sizes)
    bounds = [size.maximum for size in sizes if size.maximum is not None]
    maximum = min(bounds) if bounds else None
    if maximum is not None and maximum < minimum:
        raise UnsupportedStructure("The inputs allow no common batch size.", remedy=EXPORT)
    return Size(minimum, maximum, max(minimum, min(sizes[0].example, maximum or sizes[0].example)))
