"""The events of a job as a stream (server-sent events): what was missed first, then what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import anyio
from anyio import CapacityLimiter, to_thread

from secateur.errors import NotFound, Unavailable
from secateur.resources import Event
from secateur.states import is_terminal
from store.store import Store

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

POLL_S = 0.15
POLLING_THREADS = 8
HEARTBEAT_S = 15.0
PAGE_SIZE = 200


class Streams(NamedTuple):
    """What all streams of a process share: threads of their own, so that many of them starve nobody, and the end."""

    threads: CapacityLimiter
    closing: threading.Event


async def follow(store: Store, streams: Streams, job_id: str, after: str | None, ended: bool) -> AsyncIterator[bytes]:
    """Events behind `after`, then new ones, until the one that ends the job or the closing of the server.

    `ended` says that the job had ended before this began, so that an empty page is the end. While Redis is away the
    stream stays open and goes on where it was.
    """
    yield b"retry: 1000\n\n"
    spoken_at = time.monotonic()
    while not streams.closing.is_set():
        events = await to_thread.run_sync(_behind, store, job_id, after, limiter=streams.threads)
        for event in events or ():
            yield frame(event)
            if is_last(event):
                return
            after, spoken_at = event.id, time.monotonic()
        if ended and events == ():
            return
        if time.monotonic() - spoken_at > HEARTBEAT_S:
            yield b": still here\n\n"
            spoken_at = time.monotonic()
            ended = await to_thread.run_sync(has_ended, store, job_id, limiter=streams.threads)
        if not events:
            await anyio.sleep(POLL_S)


def _behind(store: Store, job_id: str, after: str | None) -> tuple[Event, ...] | None:
    """The next events; None while the record cannot be asked."""
    try:
        return store.events.page(job_id, after, PAGE_SIZE).data
    except NotFound:
        return ()
    except Unavailable:
        return None


def frame(event: Event) -> bytes:
    """One event on the wire; ASCII, because many a reader takes U+2028 for the end of a line."""
    return f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json(ensure_ascii=True)}\n\n".encode()


def is_last(event: Event) -> bool:
    """Whether this event ended its job."""
    return event.type == "state" and is_terminal(str(event.data.get("state")))


def has_ended(store: Store, job_id: str) -> bool:
    """Whether a job has ended, or is gone; false where the record cannot be asked."""
    try:
        return is_terminal(store.jobs.get(job_id).state)
    except NotFound:
        return True
    except Unavailable:
        return False


def wants_stream(accept: str) -> bool:
    """Whether an Accept header asks for a stream at least as much as for JSON."""
    quality = {"application/json": 0.0, MEDIA_TYPE: 0.0}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        if media_type in quality:
            quality[media_type] = _quality(parameters)
    return quality[MEDIA_TYPE] > 0 and quality[MEDIA_TYPE] >= quality["application/json"]


def _quality(parameters: list[str]) -> float:
    try:
        return next((float(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    except ValueError:
        return 0.0
