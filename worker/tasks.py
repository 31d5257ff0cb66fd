"""The one Celery task. A message only wakes; what there is to do stands in the record."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery, bootsteps

from secateur.errors import Unavailable
from store import wake
from worker.jobs import JobRunner
from worker.settings import Settings

log = structlog.get_logger()

TICK_S = 0.1


class Tick(bootsteps.StartStopStep):  # type: ignore[misc]
    """Turns Celery's event loop often.

    A worker that just became free asks for the next message only when its loop turns, and the end of a task in a thread
    does not turn it: without this, a job waits up to a second for nothing.
    """

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Called by Celery when its loop is there."""
        hub.call_repeatedly(TICK_S, lambda: None)


def celery_app(settings: Settings, runner: JobRunner) -> Celery:
    """The Celery application of this worker: one job at a time, and nothing fetched while one runs."""
    app = wake.celery_app(settings)
    app.conf.update(
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker must leave wake-ups to the idle ones
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )

    app.steps["worker"].add(Tick)

    @app.task(name=wake.RUN_JOB, ignore_result=True)  # type: ignore[untyped-decorator]
    def run_job(job_id: str) -> None:
        """Run whatever is first in the queue; `job_id` only says which job rang."""
        try:
            if not runner.run_next():
                log.debug("woken_for_nothing", id=job_id)
        except Unavailable as error:
            log.warning("record_unavailable", id=job_id, reason=error.message)

    return app
