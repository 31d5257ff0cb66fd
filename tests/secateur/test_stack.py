"""The stack's own promises: it starts, says why when it cannot, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import app.settings
import worker.settings
from secateur import Client
from secateur.errors import StackError
from secateur.redis_server import free_port
from secateur.stack import Process, Stack
from secateur.variables import KNOWN_TO
from store.settings import StoreSettings

UP = [sys.executable, "-c", "from secateur.cli import main; main()", "up", "--port", "0", "--device", "cpu"]


def parents() -> dict[int, int]:
    """Every process that lives (zombies do not) and its parent."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """The processes below `pid`."""
    known, below = parents(), {pid}
    while more := {child for child, parent in known.items() if parent in below} - below:
        below |= more
    return below - {pid}


def gone(pids: set[int], within_s: float) -> bool:
    """Whether all of them end in time."""
    end = time.monotonic() + within_s
    while pids & parents().keys():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def with_zygote(pid: int) -> set[int]:
    """The descendants, once redis, the API, the worker and its zygote are there."""
    end = time.monotonic() + 30
    while len(found := descendants(pid)) < 4:
        assert time.monotonic() < end, f"only {len(found)} processes came up"
        time.sleep(0.05)
    return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`secateur up` and its address."""
    command = [*UP, "--data", str(tmp_path / "var")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Secateur listens on http://127.0.0.1:"), line + process.stdout.read()
            yield process, line.split()[3].rstrip(";")
        finally:
            process.kill()


@pytest.mark.integration
def test_it_answers_inside_and_nothing_is_left_outside(tmp_path: Path) -> None:
    before = descendants(os.getpid())
    with Stack(data_dir=tmp_path / "var", device="cpu", api_key="key") as stack:
        with Client(stack.url, api_key="key") as client:
            assert list(client.jobs()) == []
        assert httpx.get(f"{stack.url}/v1/jobs").status_code == 401
        started = with_zygote(os.getpid()) - before
    assert gone(started, within_s=1)
    assert {log.name for log in stack.logs.iterdir()} == {"api.log", "worker.log"}
    with socket.create_server(("127.0.0.1", stack.port)):
        pass


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_ends_cleanly(up: tuple[subprocess.Popen[str], str], number: signal.Signals) -> None:
    process, url = up
    assert httpx.get(f"{url}/healthz").status_code == 200
    started = with_zygote(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.endswith("Stopped.\n")
    assert "Traceback" not in output
    assert gone(started, within_s=1)


@pytest.mark.integration
def test_nothing_survives_a_killed_parent(up: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = up
    started = with_zygote(process.pid)
    process.kill()
    assert gone(started, within_s=5)


@pytest.mark.integration
def test_up_says_which_process_died(up: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = up
    started = with_zygote(process.pid)
    pid = next(pid for pid in started if b"-m\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The worker ended with code -9" in output
    assert gone(started, within_s=1)


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port}") as caught, Stack(port=port, data_dir=tmp_path / "var"):
            pass
    assert f"--port {port + 1}" in str(caught.value.remedy)
    assert not (tmp_path / "var").exists()


def test_a_process_that_dies_at_the_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_LEASE_S", "soon")
    before = descendants(os.getpid())
    with pytest.raises(StackError, match=r"(?s)ended with code .*LEASE_S"), Stack(data_dir=tmp_path / "var"):
        pass
    assert gone(descendants(os.getpid()) - before, within_s=1)


def test_each_process_is_given_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"URL": "http://elsewhere", "API_KEY": "of another", "LEASE_S": "7", "THREADS": "1", "MAX_SPEC_BYTES": "9"}
    for name, value in given.items():
        monkeypatch.setenv(f"SECATEUR_{name}", value)
    stack = Stack(data_dir=tmp_path / "var", port=free_port())
    try:
        seen = {
            module: {name for name in stack.run(module, module, {}).env if name.startswith("SECATEUR_")}
            for module in ("app", "worker")
        }
    finally:
        stack.stop()
    all_of_them = {"LEASE_S", "REDIS_URL", "DATA_DIR", "THREADS", "MAX_SPEC_BYTES"}
    assert seen["app"] == seen["worker"] == {f"SECATEUR_{name}" for name in all_of_them}


def test_the_variables_are_the_fields_of_the_settings() -> None:
    shared = StoreSettings.model_fields.keys()
    assert {field.upper() for field in shared} == KNOWN_TO["store"]
    for name, settings in {"app": app.settings.Settings, "worker": worker.settings.Settings}.items():
        assert {field.upper() for field in settings.model_fields.keys() - shared} == KNOWN_TO[name]


def test_a_process_that_ignores_the_polite_request_is_killed(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)\n"
    )
    log = tmp_path / "deaf.log"
    process = Process("deaf", "deaf", {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}, log).start()
    end = time.monotonic() + 10
    while process.last_words() != "up":
        assert time.monotonic() < end, process.last_words()
        time.sleep(0.02)
    process.signal(signal.SIGTERM)
    process.finish(time.monotonic() + 0.2)
    assert process.pid is None
    assert process.popen is not None
    assert process.popen.returncode == -signal.SIGKILL
