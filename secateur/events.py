"""The events of a job as they happen: server-sent events, resumed where the connection broke."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import httpx

from secateur.resources import Event, Job, Page
from secateur.states import is_terminal
from secateur.transport import AWAY, ApiError, Transport, pause_s

QUIET_S = 45.0
STREAM_FAILURES = 3
POLL_S = 1.0
PATIENCE_S = 180.0


def is_last(event: Event) -> bool:
    """Whether nothing can follow this event."""
    return event.type == "state" and is_terminal(str(event.data.get("state")))


def position(event_id: str) -> tuple[int, ...]:
    """The place of an event in its stream; ids are `milliseconds-number`, as Redis writes them."""
    return tuple(int(part) for part in event_id.split("-"))


class EventStream:
    """The events of one job, each once and in order, until the one that ends it.

    A connection that breaks is made again with Last-Event-ID. Where streams keep failing (a proxy that buffers, say)
    the same events are read as pages.
    """

    def __init__(self, transport: Transport, job_id: str, after: str | None = None) -> None:
        self.transport = transport
        self.path = f"/v1/jobs/{job_id}"
        self.after = after
        self.failures = 0
        self.paging = False
        self.heard_at = time.monotonic()

    def __iter__(self) -> Iterator[Event]:
        while True:
            before = self.after
            try:
                for event in self.fresh(self.page() if self.paging else self.stream()):
                    yield event
                    if is_last(event):
                        return
                if self.after == before and self.ended():
                    return
            except (httpx.TransportError, ApiError) as error:
                self.endure(error)
            else:
                time.sleep(POLL_S if self.after == before else 0)

    def fresh(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those that were not seen yet."""
        for event in events:
            self.heard_at, self.failures = time.monotonic(), 0
            if self.after is None or position(event.id) > position(self.after):
                self.after = event.id
                yield event

    def endure(self, error: httpx.TransportError | ApiError) -> None:
        """Wait for a server that is away; raise what will not pass by waiting, or has not within PATIENCE_S."""
        passing = isinstance(error, httpx.TransportError) or error.status in AWAY or error.code == "unreachable"
        if not passing or time.monotonic() - self.heard_at > PATIENCE_S:
            raise error
        self.failures += 1
        self.paging = self.paging or self.failures >= STREAM_FAILURES
        time.sleep(pause_s(self.failures))

    def stream(self) -> Iterator[Event]:
        """Server-sent events until the server closes."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.after is not None:
            headers["Last-Event-ID"] = self.after
        with self.transport.stream(f"{self.path}/events", headers, read_timeout_s=QUIET_S) as response:
            for data in payloads(response.iter_bytes()):
                yield Event.model_validate_json(data)

    def page(self) -> Iterator[Event]:
        """The next page of events, as JSON."""
        params = {"after": self.after}
        answer = self.transport.request(
            "GET", f"{self.path}/events", params=params, headers={"Accept": "application/json"}
        )
        yield from Page[Event].model_validate_json(answer.content).data

    def ended(self) -> bool:
        """Whether the job is over although no event said so (old events are dropped in the end)."""
        answer = self.transport.request("GET", self.path)
        return is_terminal(Job.model_validate_json(answer.content).state)


def payloads(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event; comments, which keep the line open, and events without data are left out."""
    data: list[bytes] = []
    for line in lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a byte stream. A last one that has no end is dropped: it was cut off."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
