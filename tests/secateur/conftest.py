"""The real door on the embedded Redis, a worker that only writes the record, and a wire that can be cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app import examples
from app.main import create_app
from app.server import Server
from app.settings import Settings
from secateur import Client, transport
from secateur.ids import new_id
from secateur.inspection import DatasetInspection, ModelInspection
from secateur.report import Report
from secateur.resources import Artifact, Model
from store.leases import Claim
from store.settings import StoreSettings
from store.store import Store

SPEC = {"prune": examples.SPEC["prune"], "recover": examples.SPEC["recover"]}


def until(done: Callable[[], Any], within_s: float = 10) -> Any:
    """What `done` returns, once that is true."""
    end = time.monotonic() + within_s
    while not (value := done()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value


class Door:
    """The real server in a thread, and what a worker does to its record."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.server = Server(self.app, settings)
        self.thread = threading.Thread(target=self.server.run)
        self.spec = SPEC
        self.inspected = 0

    def __enter__(self) -> Door:
        self.thread.start()
        until(lambda: self.server.started)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store: Store = self.app.state.store
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def inspect_all(self, number: int) -> None:
        """End the inspections of so many uploads, as they come."""
        until(lambda: self.inspect() >= number)

    def inspect(self) -> int:
        """End the inspection of everything that waits for one; how many have been ended so far."""
        while claim := self.store.leases.claim_upload(new_id("wrk")):
            if isinstance(claim.record, Model):
                claim.ready(ModelInspection.model_validate(examples.MODEL["inspection"]), None)
            else:
                claim.ready(DatasetInspection.model_validate(examples.DATASET["inspection"]), None)
            self.store.jobs.admit(claim.id)
            self.inspected += 1
        return self.inspected

    def claim(self) -> Claim:
        """Take the next job, as soon as there is one."""

        def take() -> Claim | None:
            self.inspect()
            return self.store.leases.claim_job(new_id("wrk"), ["cpu", "any"])

        claim = until(take)
        assert isinstance(claim, Claim)
        return claim

    def succeed(self, claim: Claim, files: dict[str, bytes]) -> None:
        """End a job with these files."""
        artifacts = []
        for name, data in files.items():
            with self.store.blobs.writer() as writer:
                writer.write(data)
                artifacts.append(Artifact(name=name, **writer.commit()._asdict()))
        claim.succeed(Report.model_validate(examples.REPORT), artifacts)

    def in_background(self, work: Callable[[], None]) -> threading.Thread:
        """Do something while the test waits for it."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread


class Wire:
    """A proxy in front of the door. `budgets` says how many bytes of an answer pass before each connection is cut."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.budgets: Iterator[int] = iter(())
        self.cuts_streams = False
        self.connections = 0
        self.passed_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                far = socket.create_connection(("127.0.0.1", self.target))
                budget = [next(self.budgets, 1 << 40)]
                threading.Thread(target=self._up, args=(near, far, budget), daemon=True).start()
                threading.Thread(target=self._down, args=(far, near, budget), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket, budget: list[int]) -> None:
        with suppress(OSError):
            while data := near.recv(1 << 16):
                if self.cuts_streams and b"text/event-stream" in data:
                    budget[0] = 0
                far.sendall(data)

    def _down(self, far: socket.socket, near: socket.socket, budget: list[int]) -> None:
        with suppress(OSError):
            while budget[0] > 0 and (data := far.recv(1 << 16)):
                part = data[: budget[0]]
                budget[0] -= len(part)
                self.passed_bytes += len(part)
                near.sendall(part)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def door(store_settings: StoreSettings) -> Iterator[Door]:
    settings = Settings(
        redis_url=store_settings.redis_url,
        namespace=store_settings.namespace,
        data_dir=store_settings.data_dir,
        port=0,
    )
    with Door(settings) as door:
        yield door


@pytest.fixture
def wire(door: Door) -> Iterator[Wire]:
    wire = Wire(door.port)
    yield wire
    wire.close()


@pytest.fixture
def client(door: Door) -> Iterator[Client]:
    with Client(door.url) as client:
        yield client


@pytest.fixture
def shaky(wire: Wire) -> Iterator[Client]:
    """A client whose connection can be cut."""
    with Client(wire.url) as client:
        yield client


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """What can be uploaded as a model and as a data set; nobody looks inside."""
    model, data = tmp_path / "model.pt2", tmp_path / "train.safetensors"
    model.write_bytes(b"model" * 1000)
    data.write_bytes(b"data" * 1000)
    return model, data


@pytest.fixture
def job_id(client: Client, files: tuple[Path, Path]) -> str:
    """A job that waits for its inspection."""
    return client.submit(client.prepare(files[0], train=files[1], spec=SPEC)).id
