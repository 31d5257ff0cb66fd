"""Each trial in a process of its own: what a model does to the process ends with its trial."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from benchmarks.zoo.row import FAILS, Row, read_row

POLL_SECONDS = 0.2
MIB = 1 << 20
PRELOADED = ["torch.export._trace", "benchmarks.zoo.libraries", "benchmarks.zoo.trial"]


@dataclass(frozen=True)
class Limits:
    """What a trial may take."""

    seconds: float
    mib: int
    threads: int


@dataclass
class Trial:
    """A trial that runs: its process, the file that holds its row so far, and when it has to be over."""

    process: BaseProcess
    path: Path
    deadline: float

    def is_over(self, limits: Limits) -> str | None:
        """None while it runs; afterwards what ended it, "" if it did itself."""
        if not self.process.is_alive():
            return "" if self.process.exitcode == 0 else f"the process ended with {self.process.exitcode}"
        if time.monotonic() > self.deadline:
            return f"stopped after {limits.seconds:.0f} s"
        return f"stopped at {limits.mib} MiB" if _resident_mib(self.process.pid) > limits.mib else None

    def row(self, ended: str) -> Row:
        """What the process noted, with what ended it where it did not end by itself."""
        self.process.kill()
        self.process.join()
        row = read_row(self.path.read_text())
        if ended:
            row.verdict, row.cause = FAILS, ended
        return row


def run_trials(rows: Sequence[Row], limits: Limits, jobs: int, done: Callable[[Row], None]) -> None:
    """Runs the trial of every row, `jobs` at a time, and hands over each row when it is filled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting = list(reversed(rows))
    running: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="secateur-zoo-") as name:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_started(context, waiting.pop(), limits, Path(name)))
            time.sleep(POLL_SECONDS)
            for trial in list(running):
                ended = trial.is_over(limits)
                if ended is not None:
                    running.remove(trial)
                    done(trial.row(ended))


def _started(context: multiprocessing.context.ForkServerContext, row: Row, limits: Limits, folder: Path) -> Trial:
    path = folder / f"{row.name.replace('/', '-')}.json"
    path.write_text(row.written())
    process = context.Process(target=_attempt, args=(row, path, limits.threads))
    process.start()
    return Trial(process, path, time.monotonic() + limits.seconds)


def _attempt(row: Row, path: Path, threads: int) -> None:
    """What the process does: the row is written anew at every stage, so that it outlives the process."""
    import torch

    from benchmarks.zoo.catalogue import catalogue
    from benchmarks.zoo.trial import attempt

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    quiet = redirect_stderr(StringIO())  # a refused export prints its whole graph
    with tempfile.TemporaryDirectory(dir=path.parent) as name, quiet, redirect_stdout(StringIO()):
        attempt(row, catalogue()[row.name], Path(name), lambda known: _replace(path, known.written()))


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _resident_mib(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) // MIB
    except psutil.NoSuchProcess:
        return 0
