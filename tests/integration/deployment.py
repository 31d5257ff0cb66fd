"""The real thing, process by process, so that a test can kill any part of it: Redis, the API, any number of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from secateur import Client
from secateur.redis_server import RedisServer, free_port
from secateur.resources import Event, Job
from secateur.states import is_terminal

LEASE_S = 6.0


class Deployment:
    """Redis, one API process, workers; everything in one folder, everything ended at the end."""

    def __init__(self, folder: Path, *, lease_s: float = LEASE_S, **settings: str) -> None:
        self.folder = folder
        self.redis = RedisServer(folder / "redis")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.url)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.api: subprocess.Popen[bytes] | None = None
        self._settings = {"SECATEUR_LEASE_S": str(lease_s), "SECATEUR_WAKE_AFTER_S": "3"} | settings

    def __enter__(self) -> Self:
        self.redis.start()
        self.api = self._start("app", SECATEUR_PORT=str(self.port))
        self.start_worker()
        until(self._answers, 60, "the API to answer")
        until(lambda: bool(self.client.workers()), 60, "a worker")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        for process in [*self.workers, *filter(None, [self.api])]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.redis.stop()

    def start_worker(self) -> subprocess.Popen[bytes]:
        worker = self._start("worker", SECATEUR_DEVICE="cpu", SECATEUR_THREADS="1")
        self.workers.append(worker)
        return worker

    def settle(self) -> None:
        """One worker that waits for work, whatever has become of the others."""
        self.workers, before = [], self.workers
        for worker in before:
            if worker.poll() is None and not self.workers:
                self.workers.append(worker)
            else:
                worker.kill()
                worker.wait()
        if not self.workers:
            self.start_worker()
        until(lambda: len(self.descendants(self.workers[0])) == 1, 60, "a worker without work")

    def descendants(self, worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The zygote and the children of a worker."""
        return psutil.Process(worker.pid).children(recursive=True)

    def wait(self, job_id: str, within_s: float = 120) -> Job:
        """The job once it has ended."""
        until(lambda: is_terminal(self.client.job(job_id).state), within_s, f"{job_id} to end")
        return self.client.job(job_id)

    def wait_for_training(self, job_id: str, round_index: int, within_s: float = 60) -> Job:
        """The job once this round trains and an epoch of it is over."""

        def training() -> bool:
            job = self.client.job(job_id)
            assert not is_terminal(job.state), job
            return job.stage == "fine_tune" and job.round == round_index

        until(training, within_s, f"round {round_index}")
        return self.client.job(job_id)

    def events(self, job_id: str) -> list[Event]:
        """Everything that happened to the job so far."""
        return list(self.client.watch(job_id))

    def _answers(self) -> bool:
        try:
            self.client.workers()
        except Exception:
            assert self.api is not None
            assert self.api.poll() is None, (self.folder / "app.log").read_text()
            return False
        return True

    def _start(self, package: str, **settings: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SECATEUR_")}
        environment |= self._settings | settings
        environment |= {
            "SECATEUR_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "SECATEUR_REDIS_PASSWORD": self.redis.password,
            "SECATEUR_DATA_DIR": str(self.folder / "data"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        with (self.folder / f"{package}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", package]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def until(condition: Callable[[], bool], within_s: float, what: str, every_s: float = 0.1) -> None:
    """Wait for the condition; fails when it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s for {what}"
        time.sleep(every_s)
