"""The whole service on this machine: Redis, the API and a worker, started together and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from secateur.errors import StackError
from secateur.redis_server import TIE_TO_PARENT, RedisServer, free_port

READY_WITHIN_S = 60.0
STOPS_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
LAST_LINES = 15

# The key of another server, and the password of another Redis, than these.
NOT_PASSED_ON = frozenset(
    {"SECATEUR_URL", "SECATEUR_API_KEY", "SECATEUR_REDIS_PASSWORD", "SECATEUR_REDIS_PASSWORD_FILE"}
)

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback


class Process:
    """One process of the stack: in a session of its own, its output in a log, ended by the kernel with its parent."""

    def __init__(self, name: str, module: str, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.module = module
        self.env = env
        self.log = log
        self.began_at = 0
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self.popen is None or self.popen.poll() is not None else self.popen.pid

    def start(self) -> Self:
        """Run `python -P -m MODULE`; -P because a package of that name may lie in the user's folder."""
        command = [sys.executable, "-P", "-m", self.module]
        tied = [sys.executable, "-I", "-S", "-c", TIE_TO_PARENT, str(os.getpid()), *command]
        with self.log.open("ab") as log:
            self.began_at = log.tell()
            self.popen = subprocess.Popen(
                tied, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def signal(self, number: signal.Signals) -> None:
        """To the process alone; what it started is its own to end."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    def finish(self, until_s: float) -> None:
        """Wait for its end until the clock says `until_s`, then kill what is left of its group."""
        if self.popen is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(max(0.0, until_s - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def last_words(self) -> str:
        """The end of what this start of the process wrote."""
        with self.log.open("rb") as log:
            log.seek(self.began_at)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-LAST_LINES:]) or "(it wrote nothing)"

    def died(self) -> StackError:
        """It ended although nobody asked it to."""
        code = None if self.popen is None else self.popen.poll()
        return StackError(f"The {self.name} ended with code {code}. The end of {self.log}:\n{self.last_words()}")


class Stack:
    """Embedded Redis, the API on `port` (0: a free one) of the loopback and one worker, with all data in `data_dir`.

    Use it as a context manager; inside, `url` answers. However this process ends, nothing that it started stays behind.
    Raises StackError when the port is taken, or when something does not start (with the end of its log).
    """

    def __init__(
        self, *, port: int = 0, data_dir: Path = Path("var"), device: str = "auto", api_key: str | None = None
    ) -> None:
        self.port = port
        self.data_dir = data_dir.resolve()
        self.device = device
        self.api_key = api_key
        self.logs = self.data_dir / "logs"
        self.redis = RedisServer(self.data_dir / "redis")
        self.processes: dict[str, Process] = {}

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        """Start everything and wait until the API says that it is ready."""
        self.port = self.port or free_port()
        self._claim_port()
        self.redis.start()
        key = {} if self.api_key is None else {"SECATEUR_API_KEY": self.api_key}
        self.run("api", "app", {"SECATEUR_HOST": "127.0.0.1", "SECATEUR_PORT": str(self.port), **key})
        self.run("worker", "worker", {"SECATEUR_DEVICE": self.device})
        self._until_ready()
        return self

    def run(self, name: str, module: str, env: Mapping[str, str]) -> Process:
        """Start one more process of the stack, say a second worker. `env` comes on top of the environment."""
        self.logs.mkdir(parents=True, exist_ok=True)
        process = Process(name, module, self._env() | dict(env), self.logs / f"{name}.log")
        self.processes[name] = process
        return process.start()

    def stop(self) -> None:
        """End everything: politely at first, then for certain. The worker goes before the Redis that it writes to."""
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        until_s = time.monotonic() + STOPS_WITHIN_S
        for process in self.processes.values():
            process.finish(until_s)
        self.processes.clear()
        self.redis.stop()

    def wait(self) -> NoReturn:
        """Return never; raise StackError when a process of the stack has died."""
        while True:
            self._all_alive()
            time.sleep(10 * LOOK_EVERY_S)

    def _env(self) -> dict[str, str]:
        mine = {"SECATEUR_REDIS_URL": self.redis.url, "SECATEUR_DATA_DIR": str(self.data_dir)}
        theirs = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
        return theirs | mine | {"PYTHONUNBUFFERED": "1"}

    def _claim_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                remedy = f"Choose another: secateur up --port {self.port + 1}, or --port 0 for a free one."
                raise StackError(f"Port {self.port} cannot be used ({error.strerror}).", remedy=remedy) from error

    def _until_ready(self) -> None:
        end_s = time.monotonic() + READY_WITHIN_S
        while not self._is_ready():
            self._all_alive()
            if time.monotonic() > end_s:
                raise StackError(f"The service was not ready after {READY_WITHIN_S:g} s. The logs are in {self.logs}.")
            time.sleep(LOOK_EVERY_S)

    def _is_ready(self) -> bool:
        try:
            with DIRECT.open(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _all_alive(self) -> None:
        for process in self.processes.values():
            if process.pid is None:
                raise process.died()
        if self.redis.pid is None:
            raise StackError(f"Redis has ended. Its log: {self.redis.data_dir / 'redis.log'}")
