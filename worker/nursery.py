"""Where a worker gets its children from: it keeps one zygote alive and hands out what the zygote forks."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import structlog
from pydantic import ValidationError

from worker.order import MESSAGE, AnyMessage, InspectionOrder, JobOrder

log = structlog.get_logger()

LINE_BYTES = 4 << 20
START_S = 120.0
RESTART_S = 1.0
PASSED_ON = re.compile(r"PATH|HOME|LANG|TMPDIR|PYTHONPATH|LD_LIBRARY_PATH|(CUDA|NVIDIA|OMP|MKL|KMP|GOMP)_\w+")


class ChildLost(Exception):
    """The child or its zygote ended, or the child spoke nonsense."""


class Child:
    """One forked process: JSON lines come out of it, one-letter words go in. It ends when this end is closed."""

    def __init__(self, stream: socket.socket) -> None:
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.begun = threading.Event()
        self.ended = threading.Event()
        self._stream = stream
        self._buffer = bytearray()
        self._saying = threading.Lock()

    def send_order(self, order: JobOrder | InspectionOrder) -> None:
        """Hand over the order, as the first line."""
        self._stream.sendall(order.model_dump_json().encode() + b"\n")

    def renewed(self, asked_at_s: float) -> None:
        """Say that a renewal of the lease, asked for at this CLOCK_MONOTONIC, was confirmed."""
        self._say(f"renewed {asked_at_s!r}\n", socket.MSG_DONTWAIT)  # a child that does not listen is not waited for

    def pause(self) -> None:
        """Ask for a last checkpoint and the end."""
        self._say("pause\n")

    def messages(self, timeout_s: float) -> Iterator[AnyMessage]:
        """What the child said, after waiting for it up to `timeout_s`.

        Raises:
            ChildLost: the stream ended, or a line is not one of the messages in `worker.order`.
        """
        if b"\n" not in self._buffer and select.select([self._stream], [], [], timeout_s)[0]:
            chunk = self._receive()
            if not chunk:
                raise ChildLost(self._obituary())
            self._buffer += chunk
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            yield _parse(line)
        if len(self._buffer) > LINE_BYTES:
            raise ChildLost("the process sent a line without an end")

    def kill(self) -> None:
        """End the child and whatever it started, now, and wait until it is gone."""
        if self.pid is not None and not self.ended.is_set():
            for send in (os.killpg, os.kill):  # before its setsid it has no group of its own
                try:
                    send(self.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self._stream.close()
        self.ended.wait(timeout=5)

    def _say(self, word: str, flags: int = 0) -> None:
        try:
            with self._saying:
                self._stream.sendall(word.encode(), flags)
        except OSError:
            log.debug("child_is_gone", pid=self.pid)

    def _receive(self) -> bytes:
        try:
            return self._stream.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def _obituary(self) -> str:
        self.ended.wait(timeout=5)
        if self.exit_code is not None and self.exit_code < 0:
            name = signal.Signals(-self.exit_code).name
            hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{hint}"
        return f"the process ended with exit code {self.exit_code}"


def _parse(line: bytes) -> AnyMessage:
    try:
        return MESSAGE.validate_json(line)
    except ValidationError as error:
        raise ChildLost(f"the process spoke nonsense: {error.errors()[0]['msg']}") from error


class Nursery:
    """Keeps a zygote. Safe to use from several threads.

    A thread that lives as long as the worker starts the zygote: the parent-death signal follows the thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: list[Child] = []
        self._living: dict[int, Child] = {}
        self._keeper = threading.Thread(target=self._keep, name="zygote-keeper", daemon=True)
        self._keeper.start()

    def child(self, order: JobOrder | InspectionOrder) -> Child:
        """A new child that has its order.

        Raises:
            ChildLost: the zygote does not start, or died meanwhile.
        """
        if not self._ready.wait(START_S):
            raise ChildLost("the zygote does not start; the worker's log has the details")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        child = Child(ours)
        try:
            with self._lock, theirs:
                if self._control is None:
                    raise ChildLost("the zygote is gone")
                self._waiting.append(child)
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
            if not child.begun.wait(START_S):
                raise ChildLost("the zygote does not answer")
            child.send_order(order)
        except OSError as error:
            ours.close()
            raise ChildLost(f"the zygote is gone: {error}") from error
        return child

    def close(self) -> None:
        """End the zygote and with it every child."""
        self._closed.set()
        if self._process is not None:
            self._process.kill()
        self._keeper.join(timeout=5)

    def wait_ready(self, timeout_s: float = START_S) -> bool:
        """Whether the zygote is there, after waiting for it."""
        return self._ready.wait(timeout_s)

    def _keep(self) -> None:
        while not self._closed.is_set():
            try:
                self._start()
                self._listen()
            except Exception:  # whatever it was, a worker without a zygote is of no use: try again
                log.exception("zygote_failed")
            self._bury()
            if not self._closed.wait(RESTART_S):
                log.warning("zygote_ended")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "worker.zygote", str(os.getpid()), str(theirs.fileno())]
        # Nothing that opens a stranger's file may hold the password of Redis. And OpenBLAS would start its threads at
        # import, but a process with threads must not fork.
        environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self._control = ours

    def _listen(self) -> None:
        assert self._control is not None
        while packet := self._packet(self._control):
            message = json.loads(packet)
            if "ready" in message:
                self._ready.set()
            elif "exit" in message:
                child = self._living.pop(message["pid"])
                child.exit_code = message["exit"]
                child.ended.set()
            else:
                with self._lock:
                    child = self._waiting.pop(0)
                child.pid = message["pid"]
                self._living[message["pid"]] = child
                child.begun.set()

    def _packet(self, control: socket.socket) -> bytes:
        try:
            return control.recv(4096)
        except OSError:
            return b""

    def _bury(self) -> None:
        with self._lock:
            self._ready.clear()
            orphans = [*self._waiting, *self._living.values()]
            self._waiting.clear()
            self._living.clear()
            if self._control is not None:
                self._control.close()
            self._control = None
        for child in orphans:  # the kernel ends them with their zygote
            child.begun.set()
            child.ended.set()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
