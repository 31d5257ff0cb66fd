"""The life of a record, in one table. The store enforces it; nobody else changes a state."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class UploadState(StrEnum):
    """Where a model or a data set stands."""

    INSPECTING = "inspecting"
    READY = "ready"
    REJECTED = "rejected"


class Stage(StrEnum):
    """What a running job is doing, in this order; prune, fine_tune and control once a round.

    train and control are those of a lottery ticket: of the dense network, and of the networks it is compared with.
    """

    LOAD = "load"
    TRAIN = "train"
    SENSITIVITY = "sensitivity"
    EVALUATE = "evaluate"
    PRUNE = "prune"
    FINE_TUNE = "fine_tune"
    CONTROL = "control"
    FINALIZE = "finalize"
    MEASURE = "measure"


TRANSITIONS: dict[str, frozenset[str]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    UploadState.INSPECTING: frozenset({UploadState.READY, UploadState.REJECTED}),
    UploadState.READY: frozenset(),
    UploadState.REJECTED: frozenset(),
}


def is_terminal(state: str) -> bool:
    """Whether nothing can happen to the record any more, except its deletion."""
    return not TRANSITIONS[state]
