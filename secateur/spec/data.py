"""Which data a job trains, chooses and reports on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from secateur.ids import DatasetId
from secateur.record import Record
from secateur.spec.transforms import Transform

Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


def by_content(fields: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Fields of Data with digests in place of ids: the same file may have been uploaded more than once."""
    return {name: digests.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}


class Data(Record):
    """The data sets of a job and how their arrays map to the program's inputs."""

    train: DatasetId
    test: DatasetId | None = Field(
        default=None, description="Only reports. Without it the metric is measured on the validation data and says so."
    )
    validation: Share | DatasetId = Field(
        default=0.1,
        description="A share of train (seeded; stratified for classification) or a data set. It alone chooses epochs.",
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="Input of the program -> array of the data set, where the two names differ."
    )
    target: str = Field(default="target", description="The array that holds the labels; distillation_only reads none.")
    transforms: tuple[Transform, ...] = Field(
        default=(),
        max_length=16,
        description="Done to pictures in this order, after the division of bytes by 255. Random ones only in training.",
    )
