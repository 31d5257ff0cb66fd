"""The walls around a process that opens a stranger's file: what is done before it looks at the first byte."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from pathlib import Path

from secateur.errors import NoSpace, SecateurError

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a disk, a quota or RLIMIT_FSIZE is used up."""

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))


def disk_error(error: OSError) -> SecateurError:
    """What a user is told of a file that could not be read or written."""
    return NoSpace() if error.errno in FULL else SecateurError()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that made it ends; exit at once where `parent` is gone."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def enclose(environment: dict[str, str], memory_bytes: int | None, file_bytes: int) -> None:
    """Own session, nothing of the environment, no new privileges, no core dumps, bounded memory and files.

    When the machine itself runs out of memory, the kernel ends this process before any other.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    Path("/proc/self/oom_score_adj").write_text("1000")
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 512, resource.RLIMIT_FSIZE: file_bytes}
    if memory_bytes is not None:
        limits[resource.RLIMIT_AS] = memory_bytes
    for limit, value in limits.items():
        _, hard = resource.getrlimit(limit)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bound, bound))
