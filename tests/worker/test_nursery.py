"""Children come and go; whatever ends, nothing stays behind and the next one comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from secateur.ids import new_id
from worker.nursery import Child, ChildLost, Nursery
from worker.order import AnyMessage, InspectionOrder, Limits, Refused, Started


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    assert nursery.wait_ready()
    yield nursery
    nursery.close()


@pytest.fixture
def order(tmp_path: Path) -> InspectionOrder:
    """An order that is quickly refused: the file is no data set."""
    (tmp_path / "upload").write_bytes(b"nonsense")
    return inspection(tmp_path)


def inspection(folder: Path, lease_s: float = 30.0, memory_bytes: int | None = None) -> InspectionOrder:
    limits = Limits(
        file_bytes=1 << 30, threads=1, lease_s=lease_s, renewed_at_s=time.monotonic(), memory_bytes=memory_bytes
    )
    upload = str(folder / "upload")
    return InspectionOrder(
        id=new_id("dst"), noun="dataset", path=upload, folder=str(folder), data_bytes=1 << 30, limits=limits
    )


def blocked(folder: Path, lease_s: float = 30.0) -> InspectionOrder:
    """An order that never ends by itself: its file is a pipe that nobody writes to."""
    os.mkfifo(folder / "upload")
    return inspection(folder, lease_s)


def everything(child: Child) -> list[AnyMessage]:
    """What the child says until it ends."""
    heard: list[AnyMessage] = []
    while True:
        try:
            heard += child.messages(10)
        except ChildLost:
            return heard


def test_a_child_does_its_order_and_ends(nursery: Nursery, order: InspectionOrder) -> None:
    child = nursery.child(order)
    started, refused = everything(child)
    child.kill()
    assert isinstance(started, Started)
    assert isinstance(refused, Refused)
    assert refused.error.code == "bad_dataset"
    assert child.exit_code == 0


def test_a_child_has_nothing_of_the_environment_and_its_own_session(nursery: Nursery, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "upload")
    child = nursery.child(inspection(tmp_path, memory_bytes=1 << 40))
    next(iter(child.messages(10)))
    assert child.pid is not None
    process = psutil.Process(child.pid)
    status = Path(f"/proc/{child.pid}/status").read_text()
    limits = {
        row[:26].strip(): row[26:].split()[0] for row in Path(f"/proc/{child.pid}/limits").read_text().splitlines()
    }
    assert os.getsid(child.pid) == child.pid
    assert "NoNewPrivs:\t1" in status
    assert limits["Max core file size"] == "0"
    assert limits["Max file size"] == str(1 << 30)
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "1000"
    assert limits["Max address space"] == str(1 << 40)
    assert process.num_threads() <= 3, "the listener and the guard are all that it starts before the work"
    child.kill()
    assert not process.is_running()


def test_a_child_that_hears_of_no_renewal_ends_itself(nursery: Nursery, tmp_path: Path) -> None:
    child = nursery.child(blocked(tmp_path, lease_s=1.0))
    for _ in range(4):
        time.sleep(0.5)
        child.renewed(time.monotonic())
    assert not child.ended.is_set()
    assert child.ended.wait(3), "it outlived its lease"
    assert child.exit_code == -signal.SIGKILL
    child.kill()


def test_a_renewal_that_comes_late_counts_from_when_it_was_asked_for(nursery: Nursery, tmp_path: Path) -> None:
    child = nursery.child(blocked(tmp_path, lease_s=2.0))
    asked = time.monotonic()
    time.sleep(1.5)
    child.renewed(asked)
    assert child.ended.wait(1.5), "the time between question and answer was given to the lease"
    child.kill()


def test_a_child_ends_when_its_supervisor_closes_the_line(nursery: Nursery, tmp_path: Path) -> None:
    child = nursery.child(blocked(tmp_path))
    next(iter(child.messages(10)))
    child._stream.close()
    assert child.ended.wait(5)


def test_the_zygote_has_one_thread_and_comes_back_when_it_is_killed(nursery: Nursery, order: InspectionOrder) -> None:
    assert nursery._process is not None
    zygote = psutil.Process(nursery._process.pid)
    assert zygote.num_threads() == 1

    zygote.kill()
    zygote.wait(5)

    deadline = time.monotonic() + 30
    while nursery._process.pid == zygote.pid or not nursery.wait_ready(1):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = nursery.child(order)
    assert isinstance(everything(child)[-1], Refused)
    child.kill()


def test_a_killed_zygote_takes_its_children_along(nursery: Nursery, tmp_path: Path) -> None:
    child = nursery.child(blocked(tmp_path))
    next(iter(child.messages(10)))
    assert child.pid is not None
    assert nursery._process is not None
    process = psutil.Process(child.pid)
    nursery._process.kill()
    everything(child)
    deadline = time.monotonic() + 2
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert nursery.wait_ready()


OWNER = """
import sys, time
from worker.nursery import Nursery
nursery = Nursery()
nursery.wait_ready()
print(nursery._process.pid, flush=True)
time.sleep(60)
"""


def test_nothing_survives_a_killed_owner() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    zygote = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    zygote.wait(2)


def test_many_children_leave_no_descriptor_behind(nursery: Nursery, order: InspectionOrder) -> None:
    def run() -> None:
        child = nursery.child(order)
        everything(child)
        child.kill()

    run()
    before = psutil.Process().num_fds()
    for _ in range(10):
        run()
    assert psutil.Process().num_fds() == before
