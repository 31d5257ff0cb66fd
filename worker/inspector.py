"""Looking into uploads: a small consumer in every worker, so that an upload never waits behind training."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import structlog

from secateur.errors import Unavailable
from store.leases import Claim
from store.store import Store
from worker.lease import CHILD_SHARE
from worker.nursery import ChildLost, Nursery
from worker.order import CONVERTED, Inspected, InspectionOrder, Limits, Refused, Started
from worker.settings import Settings
from worker.supervisor import Handlers, Supervision

log = structlog.get_logger()

LISTEN_S = 2.0


class Inspector(threading.Thread):
    """Takes one upload after the other, for as long as the worker lives."""

    def __init__(
        self, store: Store, nursery: Nursery, settings: Settings, worker_id: str, stopping: threading.Event
    ) -> None:
        super().__init__(name="inspector", daemon=True)
        self._store = store
        self._nursery = nursery
        self._settings = settings
        self._worker_id = worker_id
        self._stopping = stopping

    def run(self) -> None:
        """Inspect whatever waits, then listen for the next wake-up; a lost one costs `LISTEN_S`."""
        while not self._stopping.is_set():
            try:
                claim = self._store.leases.claim_upload(self._worker_id) if self._nursery.wait_ready(LISTEN_S) else None
                if claim is None:
                    self._store.wake.wait_for_upload(LISTEN_S)
                else:
                    self._inspect(claim)
            except Unavailable:
                self._stopping.wait(LISTEN_S)
            except Exception:  # one upload must not end the inspection of all others
                log.exception("inspection_failed")
                self._stopping.wait(LISTEN_S)

    def _inspect(self, claim: Claim) -> None:
        log.info("inspection_begins", id=claim.id, attempt=claim.attempt)
        folder = self._settings.data_dir.resolve() / "inspections" / str(claim.fence)

        def inspected(message: Inspected) -> bool:
            if message.converted not in (None, CONVERTED):
                raise ChildLost(f"the process named a file that is not its own: {message.converted!r}")
            converted = folder / CONVERTED
            claim.ready(message.inspection, self._store.blobs.adopt(converted) if message.converted else None)
            return True

        def refused(message: Refused) -> bool:
            claim.reject(message.error.model_dump(exclude_none=True))
            return True

        handlers: Handlers = {Started: lambda _: False, Inspected: inspected, Refused: refused}
        timeout_s = self._settings.inspection_timeout_s
        lease_s = self._settings.lease_s
        supervision = Supervision(claim, handlers, lease_s, self._stopping, pause_s=0, timeout_s=timeout_s)
        try:
            supervision.run(self._nursery, lambda renewed_at_s: self._order(claim, folder, renewed_at_s))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._store.jobs.admit(claim.id)

    def _order(self, claim: Claim, folder: Path, renewed_at_s: float) -> InspectionOrder:
        settings = self._settings
        folder.mkdir(parents=True, exist_ok=True)
        return InspectionOrder(
            id=claim.id,
            noun="model" if claim.noun == "model" else "dataset",
            path=str(self._store.uploads.data_path(claim.id).resolve()),
            folder=str(folder),
            data_bytes=settings.job_file_bytes,
            limits=Limits(
                memory_bytes=settings.job_memory_bytes,
                file_bytes=settings.job_file_bytes,
                threads=1,
                lease_s=settings.lease_s * CHILD_SHARE,
                renewed_at_s=renewed_at_s,
            ),
        )
