"""Wake-ups: hints that there is something to claim. A lost one costs time, a doubled one nothing."""

from __future__ import annotations

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from secateur.errors import Unavailable
from store.connection import ANSWER_S, CONNECT_S, Connection
from store.settings import StoreSettings

log = structlog.get_logger()

RUN_JOB = "secateur.run_job"
QUEUES = ("cpu", "cuda", "any")
UPLOADS_CALLED = 1000
LONGEST_WAIT_S = 20.0


def celery_app(settings: StoreSettings) -> Celery:
    """The Celery application as producer and consumer have to agree on it: messages are hints, so nothing is kept."""
    app = Celery("secateur", broker=settings.redis_location, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_store_errors_even_if_ignored=False,
        worker_send_task_events=False,
        broker_connection_timeout=CONNECT_S,
        broker_transport_options={
            "global_keyprefix": celery_prefix(settings),
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
        },
    )
    return app


def celery_prefix(settings: StoreSettings) -> str:
    """In front of every key of Celery's."""
    return f"{settings.namespace}:celery:"


class Wake:
    """The producer of all wake-ups."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._listening = Connection.open(settings, answer_s=LONGEST_WAIT_S + ANSWER_S)
        self._app = celery_app(settings)
        self._prefix = celery_prefix(settings)
        self._uploads = f"{settings.namespace}:wake:uploads"

    def job(self, job_id: str, queue: str) -> None:
        """Call a worker of the queue; when that fails it is logged, and the reaper calls again."""
        try:
            self._app.send_task(RUN_JOB, args=[job_id], queue=queue, retry=False, ignore_result=True)
        except (OperationalError, OSError) as error:
            log.warning("wake_failed", id=job_id, queue=queue, reason=str(error))

    def called(self, queue: str) -> bool:
        """Whether a call to this queue has not been heard yet."""
        return bool(self._connection.exists(self._prefix + queue))

    def upload(self, upload_id: str) -> None:
        """Call whoever inspects; when that fails it is logged, and the inspectors look by themselves now and then."""
        try:
            self._connection.lpush(self._uploads, upload_id)
            self._connection.ltrim(self._uploads, 0, UPLOADS_CALLED - 1)
        except Unavailable as error:
            log.warning("wake_failed", id=upload_id, queue="uploads", reason=error.message)

    def wait_for_upload(self, timeout_s: float) -> str | None:
        """Wait for a call: the id of an upload, or None after `timeout_s` seconds (at most 20).

        Raises:
            Unavailable: Redis did not answer.
        """
        heard = self._listening.blpop([self._uploads], timeout=min(timeout_s, LONGEST_WAIT_S))
        return None if heard is None else str(heard[1])

    def close(self) -> None:
        """Let go of all connections."""
        self._listening.close()
        self._app.close()
