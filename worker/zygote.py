"""The zygote: a process that has paid for importing torch and forks one child per order.

It has one thread and has never touched CUDA, so that a fork of it is a clean process. It dies with the worker, and its
children die with it: nobody has to clean up after a `kill -9`.

    python -P -m worker.zygote PARENT_PID CONTROL_FD

Each message that comes over the control socket (SOCK_SEQPACKET) carries the child's end of a stream socket; back go
`{"ready": pid}` once, `{"pid": n}` for a child that began, `{"pid": n, "exit": code}` for one that ended, where a
negative code is the number of the signal that ended it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback

from worker.sandbox import die_with_parent


def main(parent: int, control: socket.socket) -> None:
    """Serve until the worker closes the control socket."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the worker's to answer
    from worker import child

    child.prepare()
    gc.freeze()  # what was made before the fork stays on shared pages
    ended = _wake_on_exit()
    _tell(control, ready=os.getpid())
    while True:
        readable, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in readable:
            os.read(ended, 4096)
            _report_exits(control)
        if control.fileno() in readable:
            _, descriptors, _, _ = socket.recv_fds(control, 64, 1)
            if not descriptors:
                return
            _fork(control, descriptors[0])


def _wake_on_exit() -> int:
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def _tell(control: socket.socket, **message: int) -> None:
    control.send(json.dumps(message).encode())


def _fork(control: socket.socket, descriptor: int) -> None:
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(zygote, control, descriptor)
    os.close(descriptor)
    _tell(control, pid=pid)


def _be_child(zygote: int, control: socket.socket, descriptor: int) -> None:
    from worker import child

    code = 1
    try:
        die_with_parent(zygote)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        code = child.main(socket.socket(fileno=descriptor))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(control, pid=pid, exit=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
