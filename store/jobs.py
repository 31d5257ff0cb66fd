"""Jobs: made, judged, shown, cancelled, deleted. Who runs them says so through `store.leases`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import structlog

from secateur.errors import NotFound, SecateurError, Unavailable
from secateur.ids import new_id
from secateur.report import Report
from secateur.resources import Artifact, Job, Page, Validation
from secateur.spec import Device, JobSpec
from secateur.states import JobState
from store.hearsay import failure
from store.holds import Holds
from store.idempotency import IdempotencyKey
from store.judge import Judge
from store.records import Unreadable, to_job, to_page
from store.scripts import Scripts
from store.settings import StoreSettings
from store.wake import Wake

log = structlog.get_logger()

QUEUE_OF: dict[Device, str] = {"auto": "any", "cpu": "cpu", "cuda": "cuda"}
TRIES = 5


class Jobs:
    """All jobs."""

    def __init__(self, scripts: Scripts, holds: Holds, judge: Judge, wake: Wake, settings: StoreSettings) -> None:
        self._scripts = scripts
        self._holds = holds
        self._judge = judge
        self._wake = wake
        self._folder = settings.data_dir / "jobs"

    def create(self, spec: JobSpec, key: IdempotencyKey | None = None) -> tuple[Job, bool]:
        """Record a job and queue it, or park it until its uploads are inspected; False: the key made it before.

        Raises:
            NotFound: The model or a data set does not exist.
            WrongState: The model or a data set was rejected.
            InvalidSpec: The data do not fit the model, or the spec does not fit either.
            IdempotencyMismatch: The key was used with another request.
        """
        known = key._asdict() if key else {}
        if key and "id" in (before := self._scripts.run("recall", **known)):
            return self.get(before["id"]), False
        new = new_id("job")
        fields = {
            "spec": spec.model_dump_json(),
            "rounds": str(spec.prune.rounds),
            "uploads": json.dumps([*spec.models, *spec.datasets]),
        }
        queue = QUEUE_OF[spec.device]
        for _ in range(TRIES):
            seen = self._judge.require(spec)
            made = self._scripts.run(
                "create_job", id=new, fields=fields, queue=queue, priority=spec.priority, seen=seen, **known
            )
            if "id" in made:
                if made["id"] == new and not made.get("parked"):
                    self._wake.job(new, queue)
                return self.get(made["id"]), made["id"] == new
        raise Unavailable("The uploads of this job kept changing while it was made. Try again.")

    def validate(self, spec: JobSpec) -> Validation:
        """The dry run: every problem that can be seen now, and a forecast where there is none. Nothing is queued."""
        return self._judge.validate(spec)

    def get(self, job_id: str) -> Job:
        """The job as it stands.

        Raises:
            NotFound: There is none with this id.
        """
        _require_job(job_id)
        return to_job(self._scripts.run("read", id=job_id)["row"])

    def list(self, after: str | None = None, limit: int = 20, state: JobState | None = None) -> Page[Job]:
        """Newest first; of one state where that is given."""
        rows = self._scripts.run("page", noun="job", after=after, limit=limit, state=state)["rows"]
        return to_page(list(rows), limit, to_job)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once; ask a running one to stop.

        Raises:
            NotFound: There is none with this id.
            WrongState: It has ended already.
        """
        _require_job(job_id)
        self._scripts.run("cancel", id=job_id)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its events, report and artifacts.

        Raises:
            NotFound: There is none with this id.
            WrongState: It has not ended.
        """
        _require_job(job_id)
        self._holds.remove(self._scripts.run("delete", id=job_id)["orphans"])
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def report(self, job_id: str) -> Report:
        """What the job did.

        Raises:
            NotFound: There is none with this id.
            WrongState: It has not succeeded.
        """
        _require_job(job_id)
        return Report.model_validate_json(self._scripts.run("report", id=job_id)["report"])

    def artifact(self, job_id: str, name: str) -> Artifact:
        """One of the files that the job handed over.

        Raises:
            NotFound: There is no such job, or it has no such artifact.
        """
        found = {artifact.name: artifact for artifact in self.get(job_id).artifacts}
        if name not in found:
            raise NotFound(
                f"The job has no artifact {name!r}; it has: {', '.join(sorted(found)) or 'none'}.", id=job_id
            )
        return found[name]

    def admit(self, upload_id: str | None = None) -> None:
        """Judge the parked jobs that use the upload (all of them for None), as far as their uploads are inspected."""
        for job_id in self._scripts.run("parked", upload=upload_id)["ids"]:
            try:
                self._admit(self.get(job_id))
            except NotFound:
                continue
            except Unreadable as error:
                log.warning("not_admitted", id=job_id, reason=error.message)

    def folder(self, job_id: str) -> Path:
        """Where the attempts of a job keep their files while it runs."""
        return self._folder / job_id

    def _admit(self, job: Job) -> None:
        try:
            if "inspecting" in self._judge.require(job.spec).values():
                return
        except Unavailable:
            raise
        except SecateurError as error:
            self._scripts.run("admit", id=job.id, failure=failure(error))
            return
        except Exception:  # a mistake of ours: nobody else would ever tell that the job waits for nothing
            log.exception("not_judged", id=job.id)
            self._scripts.run("admit", id=job.id, failure=failure(SecateurError()))
            return
        if self._scripts.run("admit", id=job.id)["admitted"]:
            self._wake.job(job.id, QUEUE_OF[job.spec.device])


def _require_job(job_id: str) -> None:
    if not job_id.startswith("job_"):
        raise NotFound(f"There is no job with the id {job_id}.", id=job_id)
