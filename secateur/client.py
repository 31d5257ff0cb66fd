"""The client: what the HTTP API does, as Python methods.

from secateur import Client

client = Client("http://127.0.0.1:8000")
result = client.compress("model.pt2", train="train.safetensors", test="test.safetensors", spec=...)
result.report.metric.recovered
result.fetch("pruned/")
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from secateur.download import CHUNK_BYTES, download, repr_digest, sha256_of
from secateur.errors import NotFound, SecateurError
from secateur.events import EventStream
from secateur.report import Report
from secateur.resources import Artifact, Dataset, Event, Job, Model, Page, Validation, Worker
from secateur.spec import JobSpec
from secateur.states import JobState, UploadState
from secateur.transport import ApiError, Transport

__all__ = ["ApiError", "Client", "Result"]

TIMEOUT_S = 30.0
POLL_S = 0.2

Source = str | PathLike[str]
Spec = JobSpec | Mapping[str, Any]
OnBytes = Callable[[Path, int, int], None]
OnEvent = Callable[[Event], None]
Answer = TypeVar("Answer", bound=BaseModel)
Ended = TypeVar("Ended", Model, Dataset, Job)


class Client:
    """A Secateur server.

    Every method raises ApiError, with the server's code and its way out, when a request is refused or nobody answers.
    Requests are sent again while the server is away for a moment; an Idempotency-Key sees to it that this makes nothing
    twice. `on_bytes(path, sent, total)` is called while a file is uploaded.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        on_bytes: OnBytes | None = None,
    ) -> None:
        self.transport = Transport(url, api_key, timeout_s)
        self.on_bytes = on_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.transport.close()

    # What is uploaded

    def upload_model(self, path: Source, name: str | None = None) -> Model:
        """Send a `.pt2` file, streamed from the disk. It is inspected afterwards; `wait` for that if it matters."""
        return self._upload("/v1/models", Path(path), name, Model)

    def upload_dataset(self, path: Source, name: str | None = None) -> Dataset:
        """Send a data set (safetensors or npz), streamed from the disk."""
        return self._upload("/v1/datasets", Path(path), name, Dataset)

    def model(self, model_id: str) -> Model:
        """A model as it stands now."""
        return self._get(f"/v1/models/{model_id}", Model)

    def dataset(self, dataset_id: str) -> Dataset:
        """A data set as it stands now."""
        return self._get(f"/v1/datasets/{dataset_id}", Dataset)

    def delete(self, record_id: str) -> None:
        """Delete a model, a data set or a job that has ended, by its id."""
        nouns = {"mdl": "models", "dst": "datasets", "job": "jobs"}
        noun = nouns.get(record_id.partition("_")[0])
        if noun is None:
            raise NotFound(f"{record_id!r} is no id of a model, a data set or a job")
        self.transport.request("DELETE", f"/v1/{noun}/{record_id}")

    def inspected(self, model: Model) -> Model:
        """A model once it is inspected. Raises ApiError with the model's own code when it was rejected."""
        model = self.wait(model)
        if model.error is not None:
            raise ApiError(model.error.code, model.error.message, remedy=model.error.remedy)
        return model

    # Jobs

    def submit(self, spec: Spec, idempotency_key: str | None = None) -> Job:
        """Queue a job. The same key with the same spec gives the job that was made the first time."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._post("/v1/jobs", Job, json=plain(spec), headers=headers)

    def validate(self, spec: Spec, wait: bool = False) -> Validation:
        """Every problem of a spec and a forecast; nothing is queued. `wait`: until all uploads are inspected."""
        found = self._post("/v1/jobs/validate", Validation, json=plain(spec))
        while wait and found.pending:
            time.sleep(POLL_S)
            found = self._post("/v1/jobs/validate", Validation, json=plain(spec))
        return found

    def jobs(self, state: JobState | str | None = None) -> Iterator[Job]:
        """All jobs, page by page."""
        after = None
        while True:
            answer = self.transport.request("GET", "/v1/jobs", params={"after": after, "state": state})
            page = Page[Job].model_validate_json(answer.content)
            yield from page.data
            if page.next is None:
                return
            after = page.next

    def job(self, job_id: str) -> Job:
        """A job as it stands now."""
        return self._get(f"/v1/jobs/{job_id}", Job)

    def watch(self, job_id: str, after: str | None = None) -> Iterator[Event]:
        """What happens to a job until it has ended: every event once and in order, whatever the connection does."""
        return iter(EventStream(self.transport, job_id, after))

    def cancel(self, job_id: str) -> Job:
        """Stop a job. A running one is `cancelled` a moment later."""
        return self._post(f"/v1/jobs/{job_id}/cancel", Job)

    def report(self, job_id: str) -> Report:
        """The report of a job that succeeded."""
        return self._get(f"/v1/jobs/{job_id}/report", Report)

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The files that a job handed over."""
        return self.job(job_id).artifacts

    def fetch(self, job_id: str, folder: Source, names: Sequence[str] | None = None) -> dict[str, Path]:
        """Download artifacts (all, or those of these names) into `folder`, digests checked. Returns name -> path."""
        there = {artifact.name: artifact for artifact in self.artifacts(job_id)}
        wanted = list(there) if names is None else list(names)
        for name in wanted:
            if name not in there:
                raise NotFound(f"{job_id} has no artifact {name!r}; it has {', '.join(there) or 'none'}")
        url = f"/v1/jobs/{job_id}/artifacts/"
        return {name: download(self.transport, url + name, there[name], Path(folder)) for name in wanted}

    def workers(self) -> tuple[Worker, ...]:
        """The live workers."""
        return self._get("/v1/workers", Page[Worker]).data

    def wait(self, record: Ended, timeout_s: float | None = None) -> Ended:
        """The record once nothing will happen to it any more: ready or rejected, succeeded, failed or cancelled.

        Raises TimeoutError.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        nouns = {Model: "models", Dataset: "datasets", Job: "jobs"}
        while record.state in {UploadState.INSPECTING, JobState.QUEUED, JobState.RUNNING}:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{record.id} is still {record.state} after {timeout_s:g} s")
            time.sleep(POLL_S)
            record = self._get(f"/v1/{nouns[type(record)]}/{record.id}", type(record))
        return record

    # All of it at once

    def compress(
        self,
        model: Source,
        *,
        train: Source,
        test: Source | None = None,
        validation: Source | float | None = None,
        spec: Mapping[str, Any],
        on_event: OnEvent | None = None,
    ) -> Result:
        """Upload, submit, watch to the end, and read the report.

        Files are uploaded; ids of what was uploaded before are used as they are. `spec` is a job spec without model and
        data sets. Raises ApiError with the job's own code when it fails or is cancelled.
        """
        job = self.submit(self.prepare(model, train=train, test=test, validation=validation, spec=spec))
        for event in self.watch(job.id):
            if on_event is not None:
                on_event(event)
        return self.result(job.id)

    def prepare(
        self,
        model: Source,
        *,
        train: Source,
        test: Source | None = None,
        validation: Source | float | None = None,
        spec: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Upload what is a file, `recover.initial` of the spec too, and write the ids into a copy of `spec`."""
        sources = {"train": train, "test": test, "validation": validation}
        files = {key: str(value) for key, value in sources.items() if isinstance(value, str | PathLike)}
        ids = {source: self._dataset_id(source) for source in dict.fromkeys(files.values())}
        shares = {"validation": validation} if isinstance(validation, float | int) else {}
        data = {**spec.get("data", {}), **shares, **{key: ids[source] for key, source in files.items()}}
        recover = spec.get("recover", {})
        if isinstance(recover, Mapping) and recover.get("initial") is not None:
            spec = {**spec, "recover": {**recover, "initial": self._model_id(recover["initial"])}}
        return {**spec, "model": self._model_id(model), "data": data}

    def result(self, job_id: str) -> Result:
        """What a job that has ended came to. Raises ApiError with its code when it did not succeed."""
        job = self.job(job_id)
        if job.state == JobState.SUCCEEDED:
            return Result(self, job, self.report(job_id))
        raise failure(job)

    def _model_id(self, source: Source) -> str:
        return str(source) if str(source).startswith("mdl_") else self.upload_model(source).id

    def _dataset_id(self, source: str) -> str:
        return source if source.startswith("dst_") else self.upload_dataset(source).id

    def _upload(self, url: str, path: Path, name: str | None, kind: type[Answer]) -> Answer:
        if not path.is_file():
            raise SecateurError(f"there is no file {path}")
        total = path.stat().st_size
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(total),
            "Repr-Digest": repr_digest(sha256_of(path)),
            "Idempotency-Key": uuid.uuid4().hex,
        }
        params = {"name": name or path.name}
        answer = self.transport.request("POST", url, params=params, headers=headers, body=lambda: self._chunks(path))
        return kind.model_validate_json(answer.content)

    def _chunks(self, path: Path) -> Iterator[bytes]:
        total, sent = path.stat().st_size, 0
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                sent += len(chunk)
                if self.on_bytes is not None:
                    self.on_bytes(path, sent, total)

    def _get(self, url: str, kind: type[Answer]) -> Answer:
        return kind.model_validate_json(self.transport.request("GET", url).content)

    def _post(
        self, url: str, kind: type[Answer], *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return kind.model_validate_json(self.transport.request("POST", url, json=json, headers=headers).content)


@dataclass(frozen=True)
class Result:
    """A job that succeeded: its record, its report and, on request, its files."""

    client: Client
    job: Job
    report: Report

    def fetch(self, folder: Source, names: Sequence[str] | None = None) -> dict[str, Path]:
        """Download the artifacts into `folder`. Returns name -> path."""
        return self.client.fetch(self.job.id, folder, names)


def failure(job: Job) -> ApiError:
    """Why a job did not succeed, as an error."""
    if job.error is None:
        return ApiError(
            str(job.state), f"{job.id} was {job.state}" if job.state == "cancelled" else f"{job.id} is {job.state}"
        )
    further = dict(job.error.model_extra or {})
    return ApiError(job.error.code, job.error.message, remedy=job.error.remedy, **further)


def plain(spec: Spec) -> Any:
    """A spec as JSON takes it; the server judges it."""
    return spec.model_dump(mode="json") if isinstance(spec, BaseModel) else dict(spec)
