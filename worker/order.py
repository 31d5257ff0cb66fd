"""What a supervisor tells a child to do, and what the child answers: JSON both ways, nothing else crosses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from secateur.inspection import Inspection
from secateur.record import Record
from secateur.report import Report
from secateur.resources import ErrorRecord
from secateur.sensitivity import Sensitivity
from secateur.spec import JobSpec
from secateur.states import Stage

CONVERTED = "data.safetensors"
"""The name that an inspection gives to a data set it rewrote."""


class Limits(Record):
    """What the child may use."""

    memory_bytes: int | None = None
    file_bytes: int
    threads: int
    lease_s: float = Field(description="Seconds after a confirmed renewal at which the child ends itself.")
    renewed_at_s: float = Field(description="CLOCK_MONOTONIC when the last confirmed renewal was asked for.")


class JobOrder(Record):
    """Run this job."""

    kind: Literal["job"] = "job"
    id: str
    spec: JobSpec
    folder: str = Field(description="This attempt's own; everything the child writes lies directly in it.")
    model: str = Field(description="Path of the uploaded model.")
    model_sha256: str
    initial: str | None = Field(default=None, description="Path of the initialisation that a lottery ticket names.")
    data: dict[str, str] = Field(description="Data set id -> path of its safetensors file.")
    data_sha256: dict[str, str]
    sensitivity: Sensitivity | None = Field(default=None, description="Where a job before found it.")
    checkpoint: str | None = Field(default=None, description="Path of the checkpoint to go on from.")
    checkpoint_sha256: str | None = None
    checkpoint_every_s: float
    device: str = Field(examples=["cpu", "cuda:0"])
    visible: str = Field(default="", description="CUDA_VISIBLE_DEVICES of the child.")
    attempt: int
    limits: Limits


class InspectionOrder(Record):
    """Look into this upload."""

    kind: Literal["inspection"] = "inspection"
    id: str
    noun: Literal["model", "dataset"]
    path: str
    folder: str
    data_bytes: int = Field(description="How large a converted data set may become.")
    visible: str = ""
    limits: Limits


Order = Annotated[JobOrder | InspectionOrder, Field(discriminator="kind")]
ORDER: TypeAdapter[JobOrder | InspectionOrder] = TypeAdapter(Order)


class Started(Record):
    """The child lives; its first line."""

    type: Literal["started"] = "started"


class Staged(Record):
    """A stage begins."""

    type: Literal["stage"] = "stage"
    stage: Stage
    round: int = 0


class Advanced(Record):
    """How far the whole job is. Only the newest one matters."""

    type: Literal["progress"] = "progress"
    fraction: float = Field(ge=0, le=1)
    data: dict[str, Any] = Field(default_factory=dict)


class Measured(Record):
    """A number that a reader of the event stream wants to see."""

    type: Literal["metric"] = "metric"
    data: dict[str, Any]


class Noted(Record):
    """Something that a reader should know."""

    type: Literal["note"] = "note"
    message: str


class Checkpointed(Record):
    """A checkpoint lies in the attempt's folder, complete and synced."""

    type: Literal["checkpoint"] = "checkpoint"
    name: str
    sha256: str
    round: int


class Probed(Record):
    """What each layer matters: for jobs to come, too."""

    type: Literal["probed"] = "probed"
    sensitivity: Sensitivity


class Finished(Record):
    """The job is done; the named files lie in the attempt's folder."""

    type: Literal["finished"] = "finished"
    report: Report
    artifacts: tuple[str, ...]


class Inspected(Record):
    """The inspection is done; `converted` names the file that replaces the uploaded one."""

    type: Literal["inspected"] = "inspected"
    inspection: Inspection = Field(discriminator="kind")
    converted: str | None = None


class Refused(Record):
    """The upload or the job cannot be done."""

    type: Literal["refused"] = "refused"
    error: ErrorRecord


class Paused(Record):
    """The child was asked to stop, took its last checkpoint and ends."""

    type: Literal["paused"] = "paused"


Message = Annotated[
    Started | Staged | Advanced | Measured | Noted | Checkpointed | Probed | Finished | Inspected | Refused | Paused,
    Field(discriminator="type"),
]
AnyMessage = (
    Started | Staged | Advanced | Measured | Noted | Checkpointed | Probed | Finished | Inspected | Refused | Paused
)
MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(Message)
