"""Running one claimed job: the order that its child gets, and how what the child says is written down."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import structlog

from secateur.errors import SecateurError, Unavailable
from secateur.resources import Artifact, Job
from secateur.states import is_terminal
from store.leases import Claim
from store.store import Store
from worker.device import Device
from worker.fingerprint import of_sensitivity
from worker.lease import CHILD_SHARE
from worker.nursery import ChildLost, Nursery
from worker.order import (
    Advanced,
    Checkpointed,
    Finished,
    JobOrder,
    Limits,
    Measured,
    Noted,
    Paused,
    Probed,
    Refused,
    Staged,
    Started,
)
from worker.settings import Settings
from worker.supervisor import Handlers, Supervision

log = structlog.get_logger()

PAUSE_S = 20.0
ASK_AGAIN_S = 1.0


class JobRunner:
    """Claims jobs for one device and sees each through."""

    def __init__(
        self,
        store: Store,
        nursery: Nursery,
        settings: Settings,
        device: Device,
        worker_id: str,
        stopping: threading.Event,
    ) -> None:
        self.current: str | None = None
        self._store = store
        self._nursery = nursery
        self._settings = settings
        self._device = device
        self._worker_id = worker_id
        self._stopping = stopping

    def run_next(self) -> bool:
        """Claim the best job in this worker's queues and run it to its end; whether there was one."""
        if self._stopping.is_set() or not self._nursery.wait_ready():
            return False
        claim = self._claim()
        if claim is None:
            return False
        self.current = claim.id
        try:
            Attempt(self._store, claim, self._settings, self._device).run(self._nursery, self._stopping)
        finally:
            self.current = None
        return True

    def _claim(self) -> Claim | None:
        """The best job; asked for again when no answer came, which may have been a job."""
        until_s = time.monotonic() + self._settings.lease_s * CHILD_SHARE
        while True:
            try:
                return self._store.leases.claim_job(self._worker_id, self._device.queues)
            except Unavailable:
                if time.monotonic() > until_s or self._stopping.wait(ASK_AGAIN_S):
                    raise


class Attempt:
    """One attempt at a job: a folder of its own, one child, one fence."""

    def __init__(self, store: Store, claim: Claim, settings: Settings, device: Device) -> None:
        assert isinstance(claim.record, Job)
        self._store = store
        self._claim = claim
        self._job = claim.record
        self._settings = settings
        self._device = device
        self._fingerprint: str | None = None
        self._published: dict[str, Artifact] = {}
        self._folder = settings.data_dir.resolve() / "jobs" / claim.id / "attempts" / str(claim.fence)

    def run(self, nursery: Nursery, stopping: threading.Event) -> None:
        """See the attempt through; of a job that ended nothing but its record and blobs is left."""
        log.info("job_begins", id=self._claim.id, attempt=self._claim.attempt, fence=self._claim.fence)
        handlers: Handlers = {
            Started: lambda _: False,
            Staged: self._staged,
            Advanced: self._advanced,
            Measured: self._measured,
            Noted: self._noted,
            Checkpointed: self._checkpointed,
            Probed: self._probed,
            Finished: self._finished,
            Refused: self._refused,
            Paused: self._paused,
        }
        supervision = Supervision(self._claim, handlers, self._settings.lease_s, stopping, pause_s=PAUSE_S)
        supervision.run(nursery, self._order)
        self._clean_up()

    def _clean_up(self) -> None:
        try:
            state = self._store.jobs.get(self._claim.id).state
        except SecateurError as error:
            log.warning("left_to_the_reaper", id=self._claim.id, reason=error.code)
            return
        log.info("attempt_ends", id=self._claim.id, attempt=self._claim.attempt, state=state)
        if is_terminal(state):
            shutil.rmtree(self._folder.parent, ignore_errors=True)

    def _order(self, renewed_at_s: float) -> JobOrder:
        self._folder.mkdir(parents=True, exist_ok=True)
        uploads = self._store.uploads
        spec = self._job.spec
        cpu = self._device.name == "cpu"
        checkpoint = self._claim.checkpoint
        model_sha256 = uploads.get(spec.model).sha256
        data_sha256 = {dataset: uploads.get(dataset).sha256 for dataset in spec.datasets}
        # Sums depend on the number of threads: with another one a later attempt's digests would differ.
        threads = self._claim.threads_fixed(self._settings.threads)
        self._fingerprint = of_sensitivity(spec, model_sha256, data_sha256, self._device.name, threads)
        return JobOrder(
            id=self._claim.id,
            spec=spec,
            folder=str(self._folder),
            model=str(uploads.data_path(spec.model).resolve()),
            model_sha256=model_sha256,
            initial=None if len(spec.models) < 2 else str(uploads.data_path(spec.models[1]).resolve()),
            data={dataset: str(uploads.data_path(dataset).resolve()) for dataset in spec.datasets},
            data_sha256=data_sha256,
            sensitivity=None if self._fingerprint is None else self._store.sensitivities.get(self._fingerprint),
            checkpoint=None if checkpoint is None else str((self._settings.data_dir / checkpoint.path).resolve()),
            checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
            checkpoint_every_s=self._settings.checkpoint_every_s,
            device=self._device.name,
            visible=self._device.visible,
            attempt=self._claim.attempt,
            limits=Limits(
                memory_bytes=self._settings.job_memory_bytes if cpu else None,
                file_bytes=self._settings.job_file_bytes,
                threads=threads,
                lease_s=self._settings.lease_s * CHILD_SHARE,
                renewed_at_s=renewed_at_s,
            ),
        )

    def _staged(self, message: Staged) -> bool:
        self._claim.stage(message.stage, message.round)
        return False

    def _advanced(self, message: Advanced) -> bool:
        self._claim.progress(message.fraction, message.data)
        return False

    def _measured(self, message: Measured) -> bool:
        self._claim.event("metric", message.data)
        return False

    def _noted(self, message: Noted) -> bool:
        self._claim.event("note", {"message": message.message})
        return False

    def _checkpointed(self, message: Checkpointed) -> bool:
        path = self._own(message.name)
        relative = path.relative_to(self._settings.data_dir.resolve())
        self._claim.save_checkpoint(str(relative), message.sha256, {"round": message.round})
        self._forget_older_than(path)
        return False

    def _probed(self, message: Probed) -> bool:
        if self._fingerprint is not None:
            self._store.sensitivities.put(self._fingerprint, message.sensitivity)
        return False

    def _forget_older_than(self, recorded: Path) -> None:
        """Only now, when the record points at the new one, can the checkpoints before it go."""
        for folder in self._folder.parent.iterdir():
            if folder.name.isdecimal() and int(folder.name) < self._claim.fence:
                shutil.rmtree(folder, ignore_errors=True)
        for file in self._folder.glob("checkpoint-*.safetensors"):
            if file.name < recorded.name:
                file.unlink(missing_ok=True)

    def _finished(self, message: Finished) -> bool:
        artifacts = [self._publish(name) for name in dict.fromkeys(message.artifacts)]
        with self._store.blobs.writer() as report:
            report.write(message.report.model_dump_json(indent=2).encode())
            blob = report.commit()
        artifacts.append(Artifact(name="report.json", size_bytes=blob.size_bytes, sha256=blob.sha256))
        self._claim.succeed(message.report, artifacts)
        return True

    def _publish(self, name: str) -> Artifact:
        known = self._published.get(name)  # hashed once, unless its bytes went away with another job's meanwhile
        if known is None or not self._store.blobs.exists(known.sha256):
            blob = self._store.blobs.adopt(self._own(name))
            self._published[name] = Artifact(name=name, size_bytes=blob.size_bytes, sha256=blob.sha256)
        return self._published[name]

    def _refused(self, message: Refused) -> bool:
        self._claim.fail(message.error.model_dump(exclude_none=True))
        return True

    def _paused(self, _: Paused) -> bool:
        self._claim.release()
        return True

    def _own(self, name: str) -> Path:
        """The path of a file that the child names: directly in its folder, and no link to anywhere else."""
        path = self._folder / name
        if path.parent != self._folder or name in {"", ".", ".."} or path.is_symlink():
            raise ChildLost(f"the process named a file that is not its own: {name!r}")
        return path
