"""Which workers are alive, and what they can take."""

from __future__ import annotations

from secateur.resources import Worker
from store.connection import Connection
from store.settings import StoreSettings


class Workers:
    """The live workers. Who does not announce itself again within its time is gone."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._ids = f"{settings.namespace}:workers"
        self._prefix = f"{settings.namespace}:worker:"

    def announce(self, worker: Worker, ttl_s: float = 30) -> None:
        """Say that a worker is alive; this holds for `ttl_s` seconds."""
        self._connection.set(self._prefix + worker.id, worker.model_dump_json(), px=round(ttl_s * 1000))
        self._connection.sadd(self._ids, worker.id)

    def withdraw(self, worker_id: str) -> None:
        """Say that a worker is about to end."""
        self._connection.srem(self._ids, worker_id)
        self._connection.delete(self._prefix + worker_id)

    def list(self) -> tuple[Worker, ...]:
        """The live workers, by id."""
        live = []
        for worker_id in sorted(map(str, self._connection.smembers(self._ids))):
            if text := self._connection.get(self._prefix + worker_id):
                live.append(Worker.model_validate_json(text))
            else:
                self._connection.srem(self._ids, worker_id)
        return tuple(live)
