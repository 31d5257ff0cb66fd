"""What Secateur found in an upload: enough to judge a job spec without opening the file again, and without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from secateur.record import Record
from secateur.units import ModelUnits


class TensorInfo(Record):
    """One input or output of a program."""

    name: str = Field(
        description="Input: the name of the argument. Output: its key or index, joined by dots when nested."
    )
    dtype: str = Field(description="As torch writes it, without the prefix: float32, int64, ...", examples=["float32"])
    shape: tuple[int | str, ...] = Field(
        description="One entry an axis; a name stands for a size that may vary, equal names for equal sizes.",
        examples=[("batch", 3, 224, 224)],
    )
    ranges: dict[str, tuple[int, int | None]] = Field(
        default_factory=dict,
        description="Inputs only: of each named size behind the first axis the smallest and the largest (null: any).",
    )
    below: int | None = Field(
        default=None, description="Inputs only: the values are indices into a table of so many rows, from 0 on."
    )
    ends_in: Literal["logits", "softmax", "log_softmax"] | None = Field(
        default=None, description="Outputs only: the last operator, as far as it matters for the loss."
    )


class Batch(Record):
    """Which numbers of examples the program takes at once."""

    kind: Literal["dynamic", "made_dynamic"] = Field(
        description="dynamic: exported so. made_dynamic: exported for one batch size; Secateur freed the axis."
    )
    minimum: int = 1
    maximum: int | None = None

    def allows(self, size: int) -> bool:
        """Whether so many examples can be given at once."""
        return self.minimum <= size <= (size if self.maximum is None else self.maximum)


class Layer(Record):
    """A prunable parameter: floating point, two or more axes, weight of a linear, convolution, matmul or embedding."""

    name: str
    shape: tuple[int, ...]
    total: int = Field(description="Number of weights.")
    zeros: int = Field(description="Weights that are already zero in the upload.")
    operator: str = Field(description="The operator that uses it as its weight.", examples=["conv2d"])
    input_axis: int | None = Field(
        default=None,
        description="The axis that the operator sums over, along which blocks of N:M lie. null: there is none (an "
        "embedding), or it is not known.",
    )


class ModelInspection(Record):
    """What is inside an uploaded model."""

    kind: Literal["model"] = "model"
    format: Literal["pt2"] = "pt2"
    written_by: str = Field(description="The version of torch that the file names as its writer.")
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    batch: Batch
    parameters: int = Field(description="Numbers in trainable tensors; a tied tensor counts once.")
    state_bytes: int = Field(description="Bytes of all parameters and buffers.")
    layers: tuple[Layer, ...] = Field(description="What weight pruning can prune.")
    units: ModelUnits | None = Field(
        default=None, description="What structured pruning can remove. null: not known; the notes may say why."
    )
    tied: tuple[tuple[str, ...], ...] = Field(default=(), description="Groups of names that share one tensor.")
    masked: tuple[str, ...] = Field(
        default=(), description="Parameters that arrived under torch.nn.utils.prune; pruning goes on from their masks."
    )
    notes: tuple[str, ...] = Field(default=(), description="What was changed on the way in, in words.")


class ArrayInfo(Record):
    """One array of a data set."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    minimum: float | None = Field(
        default=None, description="Smallest value; integer arrays leave out the ignored label -100."
    )
    maximum: float | None = None
    next_minimum: float | None = Field(
        default=None,
        description="Integer arrays: the smallest value but one. With the largest but one it tells the range of labels "
        "of which one more is ignored.",
    )
    next_maximum: float | None = Field(default=None, description="Integer arrays: the largest value but one.")
    finite: bool = True


class DatasetInspection(Record):
    """What is inside an uploaded data set."""

    kind: Literal["dataset"] = "dataset"
    format: Literal["safetensors", "npz"]
    examples: int
    arrays: tuple[ArrayInfo, ...]


Inspection = ModelInspection | DatasetInspection
