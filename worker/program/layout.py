"""How torch describes tensors and nesting: the parts of its schema that stand beside the graph."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from worker.program.wire import Bool, Int, Name, Part, Union


class Symbol(Part):
    """A size that varies: an expression as text (only ever compared with a pattern) and the size in the example."""

    expr_str: Name
    hint: dict[str, Any] | None = None


class Size(Union):
    """One size of a tensor: a number or a symbol."""

    as_expr: Symbol | None = None
    as_int: Int | None = None


class TensorMeta(Part):
    """Data type (torch's ScalarType number), sizes, strides and place of a tensor."""

    dtype: Int
    sizes: Annotated[list[Size], Field(max_length=32)]
    strides: Annotated[list[Size], Field(max_length=32)]
    storage_offset: Size
    requires_grad: Bool
    layout: Int


class Payload(Part):
    """Where one tensor of the state lies."""

    path_name: Name
    is_param: Bool
    use_pickle: Bool
    tensor_meta: TensorMeta | None


class PayloadConfig(Part):
    """`model_weights_config.json` and `model_constants_config.json`: full names to places."""

    config: dict[str, Payload]


class TreeSpec(Part):
    """One level of nesting of inputs or outputs; a leaf has no type."""

    type: Name | None
    context: Annotated[str, Field(strict=True, max_length=1 << 16)] | None
    children_spec: list[TreeSpec]
