"""A trial that hangs, dies or eats the memory ends as a row that says so, with what it had noted until then."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.zoo.process import Limits, Trial
from benchmarks.zoo.row import FAILS, PASSES, Row

PLENTY = Limits(seconds=60, mib=100_000, threads=1)


def started(path: Path, work: Callable[..., object], *args: object, seconds: float = 60) -> Trial:
    """A trial whose process does `work`, with a row on disk that says it passed."""
    path.write_text(Row("here", verdict=PASSES, cause="", units=7).written())
    process = multiprocessing.get_context("spawn").Process(target=work, args=args)
    process.start()
    return Trial(process, path, time.monotonic() + seconds)


def ended(trial: Trial, limits: Limits = PLENTY) -> Row:
    """The row once the trial is over."""
    while (why := trial.is_over(limits)) is None:
        time.sleep(0.02)
    return trial.row(why)


def test_a_trial_that_ends_well_keeps_its_row(tmp_path: Path) -> None:
    assert ended(started(tmp_path / "row.json", int)) == Row("here", verdict=PASSES, cause="", units=7)


def test_a_trial_that_hangs_is_stopped(tmp_path: Path) -> None:
    trial = started(tmp_path / "row.json", time.sleep, 60, seconds=0)
    row = ended(trial, Limits(seconds=0, mib=100_000, threads=1))
    assert (row.verdict, row.cause, row.units) == (FAILS, "stopped after 0 s", 7)
    assert not trial.process.is_alive()


def test_a_trial_that_takes_too_much_memory_is_stopped(tmp_path: Path) -> None:
    row = ended(started(tmp_path / "row.json", time.sleep, 60), Limits(seconds=60, mib=1, threads=1))
    assert (row.verdict, row.cause) == (FAILS, "stopped at 1 MiB")


@pytest.mark.parametrize("code", [1, 9])
def test_a_process_that_dies_is_told(code: int, tmp_path: Path) -> None:
    row = ended(started(tmp_path / "row.json", os._exit, code))
    assert (row.verdict, row.cause) == (FAILS, f"the process ended with {code}")
