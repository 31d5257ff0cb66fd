from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import examples, streams
from secateur.ids import new_id
from secateur.redis_server import RedisServer
from secateur.report import Report

SSE = {"Accept": "text/event-stream"}


def start_job(door: Any, worker: Any) -> tuple[str, Any]:
    """The address of a running job and the claim on it."""
    spec = examples.SPEC | {
        "model": httpx.post(f"{door.url}/v1/models", content=b"m").json()["id"],
        "data": {"train": httpx.post(f"{door.url}/v1/datasets", content=b"d").json()["id"]},
    }
    worker.inspect()
    location = httpx.post(f"{door.url}/v1/jobs", json=spec).headers["Location"]
    return door.url + location, worker.claim()


@pytest.fixture
def running(door: Any, worker_of: Callable[..., Any]) -> tuple[str, Any]:
    """The address of a running job and the claim on it."""
    return start_job(door, worker_of(door.store))


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in found:
                yield found
            found = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value


def follow(url: str, count: int | None = None, **headers: str) -> list[dict[str, str]]:
    """The first `count` events of a stream, or all until it ends."""
    got: list[dict[str, str]] = []
    with httpx.stream("GET", f"{url}/events", headers=SSE | headers, timeout=20) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        for frame in frames(response.iter_lines()):
            got.append(frame)
            if len(got) == count:
                break
    return got


def finish(claim: Any) -> None:
    claim.succeed(Report.model_validate(examples.REPORT), [])


def test_the_stream_tells_what_the_page_tells(running: tuple[str, Any]) -> None:
    url, claim = running
    for index in range(5):
        claim.event("note", {"message": f"line {index}\nand\r another\u2028"})
    finish(claim)
    page = httpx.get(f"{url}/events").json()["data"]
    stream = follow(url)
    assert [json.loads(frame["data"]) for frame in stream] == page
    assert [(frame["id"], frame["event"]) for frame in stream] == [(event["id"], event["type"]) for event in page]
    assert page[-1]["data"]["state"] == "succeeded"


def test_pages_of_events(running: tuple[str, Any]) -> None:
    url, claim = running
    for index in range(5):
        claim.event("note", {"message": str(index)})
    everything = httpx.get(f"{url}/events").json()["data"]
    seen: list[Any] = []
    while True:
        after = {"after": seen[-1]["id"]} if seen else {}
        page = httpx.get(f"{url}/events", params={"limit": 2, **after}).json()
        seen += page["data"]
        if page["next"] is None:
            break
    assert seen == everything


def test_reconnecting_gives_no_gap_and_no_duplicate(running: tuple[str, Any]) -> None:
    url, claim = running

    def work() -> None:
        for index in range(60):
            claim.event("note", {"index": index})
            time.sleep(0.01)
        finish(claim)

    worker = threading.Thread(target=work)
    worker.start()
    got: list[dict[str, str]] = []
    while not got or json.loads(got[-1]["data"])["data"].get("state") != "succeeded":
        got += follow(url, 7, **({"Last-Event-ID": got[-1]["id"]} if got else {}))
    worker.join()
    notes = [json.loads(frame["data"])["data"]["index"] for frame in got if frame["event"] == "note"]
    assert notes == list(range(60))
    assert [frame["id"] for frame in got] == [
        event["id"] for event in httpx.get(f"{url}/events?limit=200").json()["data"]
    ]


def test_the_header_wins_over_the_query(running: tuple[str, Any]) -> None:
    url, claim = running
    finish(claim)
    ids = [event["id"] for event in httpx.get(f"{url}/events").json()["data"]]
    headers = {"Last-Event-ID": ids[-2]}
    page = httpx.get(f"{url}/events", params={"after": ids[0]}, headers=headers).json()["data"]
    assert [event["id"] for event in page] == ids[-1:]


def test_a_stream_behind_the_end_ends(running: tuple[str, Any]) -> None:
    url, claim = running
    finish(claim)
    last = httpx.get(f"{url}/events").json()["data"][-1]["id"]
    assert follow(url, **{"Last-Event-ID": last}) == []


def test_a_silent_stream_is_kept_open(running: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.1)
    url, claim = running
    with httpx.stream("GET", f"{url}/events", headers=SSE, timeout=10) as response:
        lines = response.iter_lines()
        assert any(line.startswith(":") for line in lines)
        finish(claim)
        assert any('"succeeded"' in line for line in lines)


@pytest.mark.parametrize("value", ["x", "1", "-1-0", "1-0-0", "99999999999999999999-0"])
def test_bad_positions(door: Any, value: str) -> None:
    url = f"{door.url}/v1/jobs/{new_id('job')}/events"
    assert httpx.get(url, params={"after": value}).status_code == 422
    assert httpx.get(url, headers=SSE | {"Last-Event-ID": value}).status_code == 422


def test_a_stream_of_nothing_is_a_problem_document(door: Any) -> None:
    answer = httpx.get(f"{door.url}/v1/jobs/{new_id('job')}/events", headers=SSE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_many_streams_starve_nobody(running: tuple[str, Any], door: Any) -> None:
    url, claim = running
    ended: list[int] = []
    watchers = [threading.Thread(target=lambda: ended.append(len(follow(url)))) for _ in range(60)]
    for watcher in watchers:
        watcher.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert httpx.get(f"{door.url}/v1/jobs").status_code == 200
    assert time.monotonic() - started < 2
    finish(claim)
    for watcher in watchers:
        watcher.join(20)
    assert len(ended) == 60
    assert len(set(ended)) == 1


def test_the_server_stops_with_a_stream_open(running: tuple[str, Any], door: Any) -> None:
    url, _ = running
    with httpx.stream("GET", f"{url}/events", headers=SSE, timeout=10) as response:
        lines = response.iter_lines()
        next(lines)
        started = time.monotonic()
        door.stop()
        list(lines)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("TEXT/Event-Stream;charset=utf-8", True),
        ("text/event-stream;q=0", False),
        ("application/json, text/event-stream;q=0.5", False),
        ("application/json;q=0.5, text/event-stream", True),
        ("text/event-stream;q=x", False),
    ],
)
def test_accept(accept: str, expected: bool) -> None:
    assert streams.wants_stream(accept) is expected


def test_a_stream_outlives_redis(settings: Any, door_of: Any, worker_of: Callable[..., Any], tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis") as redis,
        door_of(settings.model_copy(update={"redis_url": redis.url})) as door,
    ):
        url, _ = start_job(door, worker_of(door.store))
        with httpx.stream("GET", f"{url}/events", headers=SSE, timeout=20) as response:
            events = frames(response.iter_lines())
            while json.loads(next(events)["data"])["data"].get("state") != "running":
                pass
            redis.kill()
            time.sleep(0.3)
            redis.start()
            assert httpx.post(f"{url}/cancel").status_code == 200
            assert next(events)["event"] == "note"
