"""`python -P -m worker`: serve one device until SIGTERM, which pauses the running job at a checkpoint."""

from __future__ import annotations

import logging
import sys
import threading

import structlog
from celery import signals

from secateur import logs
from secateur.errors import SecateurError
from secateur.ids import new_id
from store.store import Store
from worker import device
from worker.inspector import Inspector
from worker.jobs import JobRunner
from worker.nursery import Nursery
from worker.presence import Presence
from worker.settings import Settings
from worker.tasks import celery_app

log = structlog.get_logger()

ENDS_WITHIN_S = 10


def main() -> None:
    """Build everything once, wire it, and hand the main thread to Celery."""
    try:
        settings = Settings.load()
        served = device.find(settings.device)
    except SecateurError as error:
        sys.exit(error.message)
    logs.configure()
    for library in ("celery", "kombu"):
        logging.getLogger(library).setLevel(logging.WARNING)
    stopping = threading.Event()
    store = Store.open(settings)
    nursery = Nursery()
    worker_id = new_id("wrk")
    runner = JobRunner(store, nursery, settings, served, worker_id, stopping)
    app = celery_app(settings, runner)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # or Celery would set levels of its own
    signals.worker_shutting_down.connect(lambda **_: stopping.set(), weak=False)
    background = [
        Presence(store, nursery, served, worker_id, runner, stopping),
        Inspector(store, nursery, settings, worker_id, stopping),
        threading.Thread(
            target=store.reaper.run_forever, args=(stopping, settings.reaper_every_s), name="reaper", daemon=True
        ),
    ]
    for thread in background:
        thread.start()
    log.info("worker_begins", id=worker_id, device=served.name, queues=served.queues)
    try:
        app.worker_main(
            ["--quiet", "worker", "--pool=threads", "--concurrency=1",
             "--without-gossip", "--without-mingle", "--without-heartbeat",
             f"--queues={','.join(served.queues)}", f"--hostname={worker_id}"]
        )  # fmt: skip
    finally:  # Celery leaves by SystemExit
        stopping.set()
        for thread in background:
            thread.join(timeout=ENDS_WITHIN_S)
        nursery.close()
        store.close()
        log.info("worker_ends", id=worker_id)


if __name__ == "__main__":
    main()
