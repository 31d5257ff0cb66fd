"""What happened to a job, in order. Events are written by the scripts, together with what they tell of."""

from __future__ import annotations

import json
import re
from typing import Any

from secateur.errors import BadRequest, NotFound
from secateur.resources import Event, Page
from store.connection import Connection
from store.records import from_ms
from store.settings import StoreSettings

EVENT_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


class Events:
    """The events of all jobs."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._namespace = settings.namespace

    def page(self, job_id: str, after: str | None = None, limit: int = 100) -> Page[Event]:
        """Events behind `after`, oldest first; about the newest 10 000 are kept.

        Raises:
            NotFound: There is no job with this id.
            BadRequest: `after` is no event's id.
        """
        if after is not None and not EVENT_ID.fullmatch(after):
            raise BadRequest(f"{after!r} is no event's id: give one that an event had, such as 1700000000000-0.")
        start = "-" if after is None else f"({after}"
        key = f"{self._namespace}:events:{job_id}"
        rows: Any = self._connection.xrange(key, start, "+", count=limit + 1)
        if not rows and not self._connection.exists(key):
            raise NotFound(f"There is no job with the id {job_id}.", id=job_id)
        events = tuple(_event(entry, fields) for entry, fields in rows[:limit])
        return Page(data=events, next=events[-1].id if len(rows) > limit else None)


def _event(entry: str, fields: dict[str, str]) -> Event:
    return Event.model_validate(
        {
            "id": entry,
            "at": from_ms(entry.partition("-")[0]),
            "type": fields["type"],
            "attempt": fields["attempt"],
            "data": json.loads(fields["data"]),
        }
    )
