"""The one Celery task. A message only wakes; what there is to do stands in the record."""

from __future__ import annotations

import structlog
from celery import Celery

from secateur.errors import Unavailable
from worker.jobs import JobRunner
from worker.settings import Settings

log = structlog.get_logger()

TASK = "secateur.run_job"


def celery_app(settings: Settings, runner: JobRunner) -> Celery:
    """The Celery application of this worker: early acknowledgement, no results, one job at a time."""
    app = Celery("secateur", broker=settings.broker_url(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker must leave wake-ups to the idle ones
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=settings.broker_options(),
    )

    @app.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
    def run_job(job_id: str) -> None:
        """Run whatever is first in the queue; `job_id` only says which job rang."""
        try:
            if not runner.run_next():
                log.debug("woken_for_nothing", id=job_id)
        except Unavailable as error:
            log.warning("record_unavailable", id=job_id, reason=error.message)

    return app
