"""The door on a real store: in process, and as a real server where a connection matters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import examples
from app.main import create_app
from app.server import Server
from app.settings import Settings
from secateur.ids import new_id
from secateur.inspection import DatasetInspection, ModelInspection
from secateur.redis_server import RedisServer
from secateur.resources import Model
from store.leases import Claim
from store.store import Store

WORKER = new_id("wrk")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        namespace=new_id("wrk"),
        max_model_bytes=1 << 20,
        max_dataset_bytes=1 << 20,
        port=0,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def store(client: TestClient, app: FastAPI) -> Store:
    store: Store = app.state.store
    return store


class Door:
    """The real server in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.server = Server(self.app, settings)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> Door:
        self.thread.start()
        until(lambda: self.server.started)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store: Store = self.app.state.store
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture(scope="session")
def door_of() -> Callable[[Settings], Door]:
    """A server with settings of its own."""
    return Door


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with Door(settings) as door:
        yield door


def until(done: Callable[[], Any], within_s: float = 10) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Worker:
    """What a worker does to the record, without one."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def inspect(self) -> None:
        """End the inspection of everything that waits for one."""
        while claim := self.store.leases.claim_upload(WORKER):
            self._ready(claim)
            self.store.jobs.admit(claim.id)

    def _ready(self, claim: Claim) -> None:
        if isinstance(claim.record, Model):
            claim.ready(ModelInspection.model_validate(examples.MODEL["inspection"]), None)
        else:
            claim.ready(DatasetInspection.model_validate(examples.DATASET["inspection"]), None)

    def claim(self) -> Claim:
        claim = self.store.leases.claim_job(WORKER, ["cpu", "any"])
        assert claim is not None
        return claim


@pytest.fixture
def worker_of() -> Callable[[Store], Worker]:
    """A worker on a store of its own."""
    return Worker


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store)


@pytest.fixture
def spec(client: TestClient) -> dict[str, Any]:
    """A spec whose uploads are there, still under inspection."""
    model = client.post("/v1/models?name=m.pt2", content=b"model").json()
    dataset = client.post("/v1/datasets?name=d.npz", content=b"data").json()
    return {**examples.SPEC, "model": model["id"], "data": {"train": dataset["id"]}}


@pytest.fixture
def leftovers(settings: Settings) -> Callable[[], list[Path]]:
    """Lists every file below the data folder."""
    return lambda: [path for path in settings.data_dir.rglob("*") if path.is_file()]


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
