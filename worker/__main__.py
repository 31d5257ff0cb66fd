"""`python -P -m worker`: serve one device until SIGTERM, which pauses the running job at a checkpoint."""

from __future__ import annotations

import logging
import sys
import threading

import structlog
from celery import signals

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


def main() -> None:
    """Build everything once, wire it, and hand the main thread to Celery."""
    try:
        settings = Settings.load()
        served = device.find(settings.device)
    except SecateurError as error:
        sys.exit(error.message)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    stopping = threading.Event()
    store = Store.open(settings)
    nursery = Nursery()
    worker_id = new_id("wrk")
    runner = JobRunner(store, nursery, settings, served, worker_id, stopping)
    app = celery_app(settings, runner)
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
    app.worker_main(
        ["worker", "--pool=threads", "--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat",
         f"--queues={','.join(served.queues)}", f"--hostname={worker_id}", "--loglevel=WARNING"]
    )  # fmt: skip
    stopping.set()
    for thread in background:
        thread.join(timeout=10)
    nursery.close()
    store.close()
    log.info("worker_ends", id=worker_id)


if __name__ == "__main__":
    main()
