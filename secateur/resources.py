"""What the HTTP API shows: the same classes in the server, the client and the command line."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from secateur.inspection import DatasetInspection, ModelInspection
from secateur.record import Record
from secateur.report import UnitCount
from secateur.spec import JobSpec
from secateur.states import JobState, Stage, UploadState

Item = TypeVar("Item")


class ErrorRecord(BaseModel):
    """Why something was rejected or failed; further fields say what was found."""

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str
    message: str
    remedy: str | None = None


class Upload(Record):
    """An uploaded file and what the inspection found in it."""

    id: str
    name: str
    state: UploadState
    size_bytes: int
    sha256: str
    created_at: AwareDatetime
    error: ErrorRecord | None = None


class Model(Upload):
    """An uploaded network."""

    inspection: ModelInspection | None = None


class Dataset(Upload):
    """An uploaded data set."""

    inspection: DatasetInspection | None = None


class Artifact(Record):
    """One file that a job handed over; `sha256` is also its ETag."""

    name: str
    size_bytes: int
    sha256: str


class Job(Record):
    """A job as it stands now."""

    id: str
    state: JobState
    stage: Stage | None = None
    round: int = Field(default=0, description="The round that is running or was last; 0: none yet.")
    rounds: int
    progress: float = Field(default=0.0, ge=0, le=1)
    queue_position: int | None = Field(default=None, description="0: next.")
    waiting_for: str | None = Field(
        default=None, description="What a queued job needs.", examples=["inspection", "a cuda worker"]
    )
    attempts: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    last_heartbeat_at: AwareDatetime | None = None
    created_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    error: ErrorRecord | None = None
    artifacts: tuple[Artifact, ...] = ()
    spec: JobSpec


EventType = Literal["state", "stage", "progress", "metric", "checkpoint", "note", "error"]


class Event(Record):
    """Something that happened to a job. `id` grows; it is what Last-Event-ID takes."""

    id: str
    at: AwareDatetime
    type: EventType
    attempt: int
    data: dict[str, Any]


class Worker(Record):
    """A live worker process and the device that it serves."""

    id: str
    device: str = Field(examples=["cpu", "cuda:0"])
    device_name: str
    memory_bytes: int
    queues: tuple[str, ...]
    job: str | None = None
    heartbeat_at: AwareDatetime


class Page(Record, Generic[Item]):
    """A page of a list. Give `next` as `after` to get the one behind it."""

    data: tuple[Item, ...]
    next: str | None = None


class Finding(Record):
    """One thing that is wrong with a spec, and where (JSON pointer)."""

    code: str
    pointer: str
    message: str


class Change(Record):
    """A count of the network as uploaded, and as the job would hand it over."""

    before: int
    after: int


class Forecast(Record):
    """What the job would take away, computed from the inspection alone."""

    rounds: int
    examples: int = Field(description="Of the training data.")
    weights: int | None = Field(default=None, description="Weight jobs: weights in the chosen layers.")
    zeros: int | None = Field(default=None, description="Weight jobs: zeros among them at the end.")
    layers: tuple[str, ...] = Field(default=(), description="Weight jobs: the chosen layers.")
    left_whole: tuple[str, ...] = Field(
        default=(), description="N:M jobs: those of them that have no block, and so lose nothing."
    )
    units: tuple[UnitCount, ...] = Field(default=(), description="Structured jobs: the chosen groups.")
    parameters: Change | None = Field(default=None, description="Structured jobs.")
    macs: Change | None = Field(default=None, description="Structured jobs: multiply-accumulates of one example.")
    estimate: bool = Field(
        default=False,
        description="Whether the counts can come out otherwise. Of units: scores change when the network is retrained "
        "between rounds, are drawn (random), are gathered on data (taylor, snip), or are not stored (geometric_median, "
        "models of very many units); the target is met all the same, as closely as whole units and multiple_of allow. "
        "Of a search (max_accuracy_drop): it takes at most so much, of latency as if that were MACs. "
        "Of weights: with scope row or target n_m some row or block may hold more zeros than it would lose, "
        "and all of them stay zero, as those do that are in no block.",
    )


class Validation(Record):
    """The dry run of a spec: every problem, and a forecast where there is none."""

    valid: bool
    problems: tuple[Finding, ...] = ()
    pending: tuple[str, ...] = Field(default=(), description="Uploads whose inspection is not finished.")
    forecast: Forecast | None = None
