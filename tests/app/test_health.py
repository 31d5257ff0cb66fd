from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import examples
from app.main import create_app
from app.settings import Settings
from secateur.ids import new_id
from secateur.redis_server import RedisServer, free_port
from secateur.resources import Worker


def alive() -> Worker:
    return Worker(
        id=new_id("wrk"),
        device="cpu",
        device_name="test",
        memory_bytes=1,
        queues=("cpu", "any"),
        heartbeat_at=datetime.now(UTC),
    )


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def fragile(settings: Settings, redis: RedisServer) -> Iterator[TestClient]:
    """A door whose Redis the test may stop."""
    with TestClient(create_app(settings.model_copy(update={"redis_url": redis.url}))) as client:
        yield client


def test_ready(client: TestClient, store: Any) -> None:
    store.workers.announce(alive())
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert set(answer.json()["checks"].values()) == {"ok"}


def failed(answer: Any) -> set[str]:
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    return {name for name, found in answer.json()["checks"].items() if found != "ok"}


def test_not_ready_without_a_worker(client: TestClient) -> None:
    assert failed(client.get("/readyz")) == {"worker"}


def test_not_ready_without_a_disk(client: TestClient, store: Any, settings: Settings) -> None:
    store.workers.announce(alive())
    shutil.rmtree(settings.data_dir)
    assert failed(client.get("/readyz")) == {"disk"}


def test_without_redis(fragile: TestClient, redis: RedisServer, leftovers: Callable[[], list[Path]]) -> None:
    redis.kill()
    for method, path in [("GET", "/v1/jobs"), ("POST", "/v1/models"), ("GET", "/v1/workers")]:
        started = time.monotonic()
        answer = fragile.request(method, path, content=b"model" if method == "POST" else None)
        assert time.monotonic() - started < 4
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert leftovers() == []
    assert fragile.get("/healthz").json() == {"status": "ok"}
    assert failed(fragile.get("/readyz")) == {"redis", "worker"}
    redis.start()
    assert fragile.get("/v1/jobs").json()["data"] == []


def test_a_redis_that_hangs(fragile: TestClient, redis: RedisServer) -> None:
    assert redis.pid is not None
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        for path in ("/v1/jobs", "/v1/models"):
            started = time.monotonic()
            assert fragile.post(path, json=examples.SPEC).status_code == 503
            assert time.monotonic() - started < 4
    finally:
        os.kill(redis.pid, signal.SIGCONT)


def test_the_door_opens_before_redis_is_there(settings: Settings) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with TestClient(create_app(settings.model_copy(update={"redis_url": nobody}))) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/jobs").status_code == 503


def test_workers(client: TestClient, store: Any) -> None:
    assert client.get("/v1/workers").json()["data"] == []
    worker = alive()
    store.workers.announce(worker)
    assert client.get("/v1/workers").json() == {"data": [worker.model_dump(mode="json")], "next": None}
