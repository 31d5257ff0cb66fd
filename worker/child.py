"""The child: one order, in a process of its own. It speaks JSON lines over one socket, and knows no Redis or Celery."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import traceback
from pathlib import Path

from secateur.errors import OutOfMemory, SecateurError
from secateur.resources import ErrorRecord
from worker.order import ORDER, AnyMessage, InspectionOrder, JobOrder, Limits, Paused, Refused, Started
from worker.sandbox import disk_error, enclose


def prepare() -> None:
    """Import, before the first fork, all that an order needs."""
    import torch._dynamo
    import torch._export.serde.serialize
    import torch.export

    from worker import inspection, pipeline

    del inspection, pipeline
    torch.set_num_threads(1)


class Line:
    """The child's end of the line: what it says, and whether it was asked to pause."""

    def __init__(self, stream: socket.socket) -> None:
        self.pause_asked = threading.Event()
        self._stream = stream
        self._lock = threading.Lock()
        self._deadline_s = float("inf")
        self._incoming = stream.makefile("rb")

    def read_order(self) -> JobOrder | InspectionOrder:
        """The first line that comes in."""
        return ORDER.validate_json(self._incoming.readline())

    def say(self, message: AnyMessage) -> None:
        """Send one message."""
        with self._lock:
            self._stream.sendall(message.model_dump_json().encode() + b"\n")

    def watch(self, limits: Limits) -> None:
        """From now on, end the whole group when the supervisor is gone or its lease was not renewed in time."""
        self._deadline_s = limits.renewed_at_s + limits.lease_s
        threading.Thread(target=self._listen, args=(limits.lease_s,), daemon=True).start()
        threading.Thread(target=self._guard, daemon=True).start()

    def _listen(self, lease_s: float) -> None:
        for word in self._incoming:
            if word == b"pause\n":
                self.pause_asked.set()
            else:
                self._deadline_s = float(word.removeprefix(b"renewed ")) + lease_s
        _end_group()

    def _guard(self) -> None:
        while time.monotonic() < self._deadline_s:
            time.sleep(min(1.0, max(0.01, self._deadline_s - time.monotonic())))
        _end_group()


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(stream: socket.socket) -> int:
    """Read the order, close the walls, do the work, say how it ended; the exit code is 0 when something was said."""
    line = Line(stream)
    order = line.read_order()
    enclose(_environment(order), order.limits.memory_bytes, order.limits.file_bytes)
    line.watch(order.limits)
    line.say(Started())
    try:
        line.say(_work(order, line))
    except SecateurError as error:
        line.say(_refused(error))
    except MemoryError:
        line.say(_refused(OutOfMemory()))
    except OSError as error:
        traceback.print_exc()
        line.say(_refused(disk_error(error)))
    except Exception as error:
        traceback.print_exc()
        line.say(_refused(SecateurError(kind=type(error).__name__)))
    return 0


def _refused(error: SecateurError) -> Refused:
    refused = Refused(error=ErrorRecord.model_validate(error.to_dict()))
    try:
        refused.model_dump_json()
    except ValueError:  # text of a stranger that is no Unicode: the code alone must do
        return Refused(error=ErrorRecord(code=error.code, message=type(error)().message))
    return refused


def _work(order: JobOrder | InspectionOrder, line: Line) -> AnyMessage:
    import torch

    from worker import inspection, pipeline

    torch.set_num_threads(order.limits.threads)
    if isinstance(order, InspectionOrder):
        return inspection.look(order)
    finished = pipeline.run(order, line.say, line.pause_asked.is_set)
    return finished if finished is not None else Paused()


def _environment(order: JobOrder | InspectionOrder) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(Path(order.folder)),
        "TMPDIR": str(Path(order.folder)),
        "CUDA_VISIBLE_DEVICES": order.visible,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
    }
