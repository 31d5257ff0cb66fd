"""The reaper: repairs what died, was lost, or was forgotten. It runs in every API and worker process, one at a time."""

from __future__ import annotations

import secrets
import threading

import structlog

from secateur.errors import SecateurError, Unavailable
from store.blobs import Blobs
from store.connection import Connection
from store.epoch import Epoch
from store.folders import Folders
from store.holds import Holds
from store.jobs import Jobs
from store.scripts import Scripts
from store.settings import StoreSettings
from store.wake import QUEUES, Wake

log = structlog.get_logger()

TURN_S = 30
BATCH = 100
CALLS = 10
STALE_S = 3600.0
CLEAN_EVERY_S = 3600


class Reaper:
    """Sweeps. Whatever it does is safe to do at any time and twice: the scripts check everything themselves."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        holds: Holds,
        blobs: Blobs,
        jobs: Jobs,
        wake: Wake,
        settings: StoreSettings,
    ) -> None:
        self._connection = connection
        self._scripts = scripts
        self._holds = holds
        self._blobs = blobs
        self._jobs = jobs
        self._wake = wake
        self._folders = Folders(connection, scripts, settings)
        self._turn = f"{settings.namespace}:reaper"
        self._cleaned = f"{settings.namespace}:cleaned"
        self._epoch = Epoch(connection, settings)

    def sweep(self) -> None:
        """One sweep, unless another process is at it.

        Raises:
            Unavailable: Redis did not answer.
        """
        mine = secrets.token_hex(8)
        if not self._connection.set(self._turn, mine, nx=True, ex=TURN_S):
            return
        try:
            self._bury()
            self._jobs.admit()
            self._call()
            self._tidy()
        finally:
            if self._connection.get(self._turn) == mine:
                self._connection.delete(self._turn)

    def run_forever(self, stop: threading.Event, every_s: float) -> None:
        """Sweep every so many seconds until `stop` is set; a failed sweep is logged, and the next one tries again."""
        while not stop.wait(every_s):
            try:
                self.sweep()
            except Unavailable as error:
                log.warning("sweep_failed", reason=error.message)
            except (SecateurError, OSError):
                log.exception("sweep_failed")

    def _bury(self) -> None:
        while buried := self._scripts.run("bury", limit=BATCH)["buried"]:
            log.warning("leases_expired", ids=buried)

    def _call(self) -> None:
        """Call workers again for the best jobs of every queue, unless an earlier call still waits to be heard."""
        for queue in QUEUES:
            if not self._wake.called(queue):
                for job_id in self._scripts.run("unwoken", queue=queue, limit=CALLS)["ids"]:
                    self._wake.job(job_id, queue)

    def _tidy(self) -> None:
        self._blobs.sweep(STALE_S)
        self._holds.drop_forgotten(STALE_S)
        if self._epoch.agrees():
            self._clean()

    def _clean(self) -> None:
        """Remove what the record does not need any more, and what it never heard of."""
        if self._connection.set(self._cleaned, "1", nx=True, ex=CLEAN_EVERY_S):
            self._holds.drop_unheld(STALE_S)
        self._folders.sweep(STALE_S)
