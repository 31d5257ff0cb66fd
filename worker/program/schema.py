"""The part of torch's export schema (major version 8) that is read: `models/model.json`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from secateur.errors import UnsupportedSchema
from worker.program.wire import Bool, Float, Int, Name, Part, Text, Union, parse

MAJOR = 8


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


class _Versioned(Part):
    schema_version: Version


def parse_program(text: bytes) -> ExportedProgram:
    """Reads `models/model.json`; raises UnsupportedSchema for another major version, else CorruptArchive."""
    version = parse(_Versioned, text, "models/model.json").schema_version
    if version.major != MAJOR:
        raise UnsupportedSchema(
            f"The program has schema version {version.major}.{version.minor}; Secateur reads {MAJOR}.x."
            " Export it with PyTorch 2.11 to 2.15."
        )
    return parse(ExportedProgram, text, "models/model.json")
