"""Telling the record that this worker is alive, and which device it serves."""

from __future__ import annotations

import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import structlog

from secateur.errors import Unavailable
from secateur.resources import Worker
from store.store import Store
from worker.device import Device
from worker.jobs import JobRunner
from worker.nursery import Nursery

log = structlog.get_logger()

EVERY_S = 5.0
PULSE = Path(tempfile.gettempdir()) / f"secateur-worker-{os.getpid()}"
"""Touched at each announcement while there is a zygote; the container's health check looks at its age."""


class Presence(threading.Thread):
    """Announces the worker every `EVERY_S` seconds and withdraws it at the end."""

    def __init__(
        self,
        store: Store,
        nursery: Nursery,
        device: Device,
        worker_id: str,
        runner: JobRunner,
        stopping: threading.Event,
    ) -> None:
        super().__init__(name="presence", daemon=True)
        self._store = store
        self._nursery = nursery
        self._device = device
        self._worker_id = worker_id
        self._runner = runner
        self._stopping = stopping

    def run(self) -> None:
        """Announce until the worker stops."""
        while True:
            try:
                self._store.workers.announce(self._card())
                if self._nursery.wait_ready(0):
                    PULSE.touch()
            except Unavailable:
                log.warning("record_unavailable", id=self._worker_id)
            except OSError:
                log.exception("no_pulse", path=str(PULSE))
            if self._stopping.wait(EVERY_S):
                break
        PULSE.unlink(missing_ok=True)
        try:
            self._store.workers.withdraw(self._worker_id)
        except Unavailable:
            log.debug("left_without_a_word", id=self._worker_id)

    def _card(self) -> Worker:
        return Worker(
            id=self._worker_id,
            device=self._device.name,
            device_name=self._device.model,
            memory_bytes=self._device.memory_bytes,
            queues=self._device.queues,
            job=self._runner.current,
            heartbeat_at=datetime.now(UTC),
        )
