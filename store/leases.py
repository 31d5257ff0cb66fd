"""Claims: how exactly one worker owns a job or an upload, for as long as it shows that it lives."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from secateur.errors import SecateurError, Unavailable
from secateur.inspection import Inspection
from secateur.report import Report
from secateur.resources import Artifact, Dataset, EventType, Job, Model
from secateur.states import JobState, Stage, UploadState
from store.blobs import DIGEST, Blob
from store.hearsay import as_json, event_data, failure, sentence
from store.holds import Holds
from store.records import Row, to_job, to_upload
from store.scripts import Scripts
from store.wake import Wake

PROGRESS_STEP = 0.01
ROUNDS_MAX = 1_000_000


class Standing(NamedTuple):
    """What a renewed lease tells its owner."""

    cancel_requested: bool


class Checkpoint(NamedTuple):
    """From where the next attempt goes on."""

    path: str
    sha256: str
    meta: dict[str, Any]


class Claim:
    """One attempt's right to a record. Every method raises FenceLost, and changes nothing, once another has it."""

    def __init__(self, scripts: Scripts, holds: Holds, wake: Wake, row: Row, claimed_at_s: float) -> None:
        self._scripts = scripts
        self._holds = holds
        self._wake = wake
        self._queue = row["queue"]
        self._fence = row["fence"]
        self._said_progress = -1.0
        self._writes = 0
        self._unconfirmed: dict[str, Any] | None = None
        self.id = row["id"]
        self.fence = int(self._fence)
        self.attempt = int(row["attempts"])
        self.record: Job | Model | Dataset = to_job(row) if self.noun == "job" else to_upload(row)
        self.checkpoint = Checkpoint(**json.loads(row["checkpoint"])) if "checkpoint" in row else None
        self.threads = int(row["threads"]) if "threads" in row else None
        self.claimed_at_s = claimed_at_s

    @property
    def noun(self) -> Literal["job", "model", "dataset"]:
        """What is claimed."""
        nouns: dict[str, Literal["job", "model", "dataset"]] = {"job": "job", "mdl": "model", "dst": "dataset"}
        return nouns[self.id[:3]]

    def renew(self) -> Standing:
        """Show that the owner lives: the lease runs anew."""
        reply = self._run("renew")
        return Standing(cancel_requested=reply["cancel_requested"])

    def threads_fixed(self, threads: int) -> int:
        """How many threads every attempt computes with: what the first one to say so said."""
        return int(self._run("fix", field="threads", value=str(threads))["value"])

    def stage(self, stage: Stage, round: int) -> None:
        """The job enters a stage of a round; 0: of none, then its record still tells the last one.

        Raises:
            SecateurError: No job has such a round.
        """
        if not 0 <= round <= ROUNDS_MAX:
            raise SecateurError("The process spoke of a round that no job has.")
        told = {"round": str(round)} if round else {}
        self._write({"stage": stage, **told}, "stage", {"stage": stage, "round": round})

    def progress(self, fraction: float, data: Mapping[str, Any] | None = None) -> None:
        """How much of the whole job is done, 0 to 1; every hundredth becomes an event."""
        fraction = min(max(0.0, fraction), 1.0)
        shown = {"progress": f"{fraction:.6f}"}
        if fraction < self._said_progress + PROGRESS_STEP and fraction < 1:
            self._write(shown)
            return
        self._write(shown, "progress", {**(data or {}), "fraction": fraction})
        self._said_progress = fraction

    def event(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Something else happened."""
        self._write({}, kind, data)

    def save_checkpoint(self, path: str, sha256: str, meta: Mapping[str, Any] | None = None) -> None:
        """The next attempt goes on from this file (relative to the data folder).

        Raises:
            ValueError: The path leads out of the data folder.
            SecateurError: This is no SHA-256.
        """
        if not DIGEST.fullmatch(sha256):
            raise SecateurError("The process gave no SHA-256 of its checkpoint.")
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"not a path in the data folder: {path!r}")
        found = Checkpoint(path, sha256, json.loads(event_data(meta or {})))
        self._write({"checkpoint": as_json(found._asdict())}, "checkpoint", found.meta)

    def succeed(self, report: Report, artifacts: Sequence[Artifact]) -> None:
        """The job is done: report and artifacts are published in one step.

        Raises:
            Unavailable: Redis did not answer, or an artifact's bytes went away in this moment: adopt them again.
        """
        fields = {"artifacts": as_json(artifacts), "progress": "1"}
        digests = [artifact.sha256 for artifact in artifacts]
        self._finish(JobState.SUCCEEDED, fields=fields, digests=digests, report=report.model_dump_json())

    def fail(self, error: SecateurError | Mapping[str, Any]) -> None:
        """The job failed, or the upload is rejected, for good."""
        if self.noun != "job":
            self.reject(error)
            return
        self._finish(JobState.FAILED, failure=failure(error))

    def cancelled(self) -> None:
        """The job has stopped because its cancellation was asked for (WrongState when it was not)."""
        self._finish(JobState.CANCELLED)

    def release(self) -> None:
        """Give it back unfinished: the worker is shut down in good order, and the attempt does not count."""
        self._give_back(reason="its worker was shut down")

    def lost(self, reason: str) -> None:
        """The attempt died: the next one may start at once; after the last one it has failed with `worker_lost`."""
        self._give_back(reason=sentence(reason), burned=True)

    def ready(self, inspection: Inspection, data_blob: Blob | None = None) -> None:
        """The upload can be used; jobs read `data_blob` where the inspection had to rewrite the data."""
        data = {} if data_blob is None else {"data_sha256": data_blob.sha256}
        digests = [] if data_blob is None else [data_blob.sha256]
        self._finish(UploadState.READY, fields={"inspection": inspection.model_dump_json(), **data}, digests=digests)

    def reject(self, error: SecateurError | Mapping[str, Any]) -> None:
        """The upload cannot be used."""
        self._finish(UploadState.REJECTED, failure=failure(error))

    def _give_back(self, **arguments: Any) -> None:
        if not self._run("yield", **arguments).get("waits"):
            return
        if self.noun == "job":
            self._wake.job(self.id, self._queue)
        else:
            self._wake.upload(self.id)

    def _finish(self, state: str, digests: Sequence[str] = (), **arguments: Any) -> None:
        if digests:
            self._run("hold_more", digests=digests)
            self._holds.require(digests)
        self._run("finish", state=state, **arguments)

    def _write(
        self, fields: Mapping[str, str], kind: EventType | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        what = {"fields": dict(fields), "type": kind, "data": None if kind is None else event_data(data or {})}
        if what != self._unconfirmed:  # else it is tried again, and may have been carried out: the same number
            self._writes += 1
            self._unconfirmed = what
        self._run("write", number=self._writes, **what)
        self._unconfirmed = None

    def _run(self, script: str, **arguments: Any) -> dict[str, Any]:
        return self._scripts.run(script, id=self.id, fence=self._fence, **arguments)


class Leases:
    """How workers take what waits."""

    def __init__(self, scripts: Scripts, holds: Holds, wake: Wake) -> None:
        self._scripts = scripts
        self._holds = holds
        self._wake = wake
        self._unanswered: dict[tuple[str, ...], str] = {}

    def claim_job(self, worker_id: str, queues: Sequence[str]) -> Claim | None:
        """The best job of these queues: the highest priority, then the oldest; None where none waits."""
        return self._claim(worker_id, queues)

    def claim_upload(self, worker_id: str) -> Claim | None:
        """The upload that has waited longest for its inspection."""
        return self._claim(worker_id, ("uploads",))

    def _claim(self, worker_id: str, queues: Sequence[str]) -> Claim | None:
        asked_at_s = time.monotonic()  # before the lease begins on Redis' clock, so the owner never overrates it
        whose = (worker_id, *queues)
        nonce = self._unanswered.pop(whose, None) or secrets.token_hex(16)
        try:
            row = self._scripts.run("claim", worker=worker_id, queues=list(queues), nonce=nonce).get("row")
        except Unavailable:
            self._unanswered[whose] = nonce
            raise
        return None if row is None else Claim(self._scripts, self._holds, self._wake, row, asked_at_s)
