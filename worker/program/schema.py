"""The part of torch's export schema (major version 8) that is read, as strict models: nothing is evaluated."""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from secateur.errors import CorruptArchive, UnsupportedSchema

MAJOR = 8

M = TypeVar("M", bound=BaseModel)
Int = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]
Text = Annotated[str, Field(strict=True, max_length=1024)]
Bool = Annotated[bool, Field(strict=True)]
Float = Annotated[float, Field(strict=True)] | Annotated[str, Field(pattern=r"^(-?Infinity|NaN)$")]


class Part(BaseModel):
    """A piece of the schema. Keys that are not listed are not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Union(BaseModel):
    """A piece with exactly one key, which says what kind it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one key is needed")
        return self

    @property
    def kind(self) -> str:
        """The one key."""
        return next(iter(self.model_fields_set))


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


class TensorName(Part):
    """The name of a tensor in the graph."""

    name: Name


class OptionalTensor(Union):
    """An entry of a list of tensors with gaps."""

    as_tensor: TensorName | None = None
    as_none: Bool | None = None


class Symbolic(Union):
    """A number that is either computed in the graph (its name) or written down."""

    as_name: Name | None = None
    as_int: Int | None = None
    as_float: Float | None = None
    as_bool: Bool | None = None


class Complex(Part):
    """A complex literal."""

    real: Float
    imag: Float


class Subgraph(Part):
    """The graph that a higher-order operator runs."""

    graph: Graph


class Argument(Union):
    """A value that an operator takes or gives."""

    as_none: Bool | None = None
    as_tensor: TensorName | None = None
    as_tensors: list[TensorName] | None = None
    as_optional_tensor: OptionalTensor | None = None
    as_optional_tensors: list[OptionalTensor] | None = None
    as_int: Int | None = None
    as_ints: list[Int] | None = None
    as_float: Float | None = None
    as_floats: list[Float] | None = None
    as_bool: Bool | None = None
    as_bools: list[Bool] | None = None
    as_string: Text | None = None
    as_strings: list[Text] | None = None
    as_complex: Complex | None = None
    as_sym_int: Symbolic | None = None
    as_sym_ints: list[Symbolic] | None = None
    as_sym_float: Symbolic | None = None
    as_sym_floats: list[Symbolic] | None = None
    as_sym_bool: Symbolic | None = None
    as_sym_bools: list[Symbolic] | None = None
    as_scalar_type: Int | None = None
    as_memory_format: Int | None = None
    as_layout: Int | None = None
    as_device: dict[str, Any] | None = None
    as_graph: Subgraph | None = None
    as_custom_obj: dict[str, Any] | None = None
    as_operator: Text | None = None
    as_nested_tensors: list[Any] | None = None
    as_int_lists: list[Any] | None = None
    as_float_lists: list[Any] | None = None
    as_string_to_argument: dict[str, Any] | None = None


class NamedArgument(Part):
    """An argument under its name in the operator's schema; higher-order operators leave the name empty."""

    name: Text
    arg: Argument


class Node(Part):
    """One call of an operator."""

    target: Name
    inputs: list[NamedArgument]
    outputs: list[Argument]


class Graph(Part):
    """Calls in the order in which they run."""

    inputs: list[Argument]
    outputs: list[Argument]
    nodes: list[Node]
    tensor_values: dict[str, Any]


class ParameterSpec(Part):
    """An input of the graph that is a parameter."""

    arg: TensorName
    parameter_name: Name


class BufferSpec(Part):
    """An input of the graph that is a buffer; one that is not persistent is no part of the state dict."""

    arg: TensorName
    buffer_name: Name
    persistent: Bool


class ConstantSpec(Part):
    """An input of the graph that is a tensor made in forward."""

    arg: TensorName
    tensor_constant_name: Name


class UserValue(Part):
    """An input or output that the user sees."""

    arg: Argument


class FixedInput(Part):
    """An argument that was no tensor; its value is written into the graph."""

    name: Name


class InputSpec(Union):
    """What one input of the graph is."""

    user_input: UserValue | None = None
    parameter: ParameterSpec | None = None
    buffer: BufferSpec | None = None
    tensor_constant: ConstantSpec | None = None
    constant_input: FixedInput | None = None
    custom_obj: dict[str, Any] | None = None
    token: dict[str, Any] | None = None


class OutputSpec(Union):
    """What one output of the graph is."""

    user_output: UserValue | None = None
    loss_output: dict[str, Any] | None = None
    buffer_mutation: dict[str, Any] | None = None
    parameter_mutation: dict[str, Any] | None = None
    gradient_to_parameter: dict[str, Any] | None = None
    gradient_to_user_input: dict[str, Any] | None = None
    user_input_mutation: dict[str, Any] | None = None
    token: dict[str, Any] | None = None


class Signature(Part):
    """Inputs and outputs in the graph's order."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]


class CallSignature(Part):
    """How the inputs and outputs are nested: two treespecs, JSON inside a string."""

    in_spec: Annotated[str, Field(strict=True, max_length=1 << 20)]
    out_spec: Annotated[str, Field(strict=True, max_length=1 << 20)]


class ModuleCall(Part):
    """How a module is called; only that of the root is used."""

    fqn: str
    signature: CallSignature | None = None


class GraphModule(Part):
    """The graph and how it is called."""

    graph: Graph
    signature: Signature
    module_call_graph: Annotated[list[ModuleCall], Field(min_length=1)]


class Range(Part):
    """The sizes that a symbol may take; None: no bound."""

    min_val: Int | None
    max_val: Int | None


class Version(Part):
    """The version of the schema."""

    major: Int
    minor: Int


class ExportedProgram(Part):
    """`models/model.json`."""

    graph_module: GraphModule
    range_constraints: dict[str, Range]
    schema_version: Version
    torch_version: Annotated[str, Field(strict=True, max_length=64, pattern=r"^[\w.+<=\- ]*$")] = "unknown"


class Payload(Part):
    """Where one tensor of the state lies."""

    path_name: Name
    is_param: Bool
    use_pickle: Bool
    tensor_meta: TensorMeta | None


class PayloadConfig(Part):
    """`model_weights_config.json` and `model_constants_config.json`: full names to places."""

    config: dict[str, Payload]


class _Versioned(Part):
    schema_version: Version


class TreeSpec(Part):
    """One level of nesting of inputs or outputs; a leaf has no type."""

    type: Name | None
    context: Annotated[str, Field(strict=True, max_length=1 << 16)] | None
    children_spec: list[TreeSpec]


def parse(model: type[M], text: bytes | str, what: str) -> M:
    """Reads JSON into `model`; raises CorruptArchive that says where `what` is wrong."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][:12])[:200] or "the whole"
        raise CorruptArchive(f"{what} is not what torch.export.save writes: {where}: {first['msg'][:200]}.") from error


def parse_program(text: bytes) -> ExportedProgram:
    """Reads `models/model.json`; raises UnsupportedSchema for another major version, else CorruptArchive."""
    version = parse(_Versioned, text, "models/model.json").schema_version
    if version.major != MAJOR:
        raise UnsupportedSchema(
            f"The program has schema version {version.major}.{version.minor}; Secateur reads {MAJOR}.x."
            " Export it with PyTorch 2.11 to 2.15."
        )
    return parse(ExportedProgram, text, "models/model.json")
