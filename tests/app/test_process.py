"""The door as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from secateur.ids import new_id
from secateur.redis_server import free_port

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


def environment(**settings: Any) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SECATEUR_")}
    given = {f"SECATEUR_{name.upper()}": str(value) for name, value in settings.items()}
    return clean | given | {"PYTHONPATH": str(ROOT)}


@contextmanager
def process(**settings: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "app"],
        env=environment(port=port, **settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running, f"http://127.0.0.1:{port}"
    finally:
        running.kill()
        running.communicate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def record(redis_url: str, tmp_path: Path) -> dict[str, Any]:
    return {"redis_url": redis_url, "data_dir": tmp_path / "data", "namespace": new_id("wrk")}


def test_the_door_knows_no_torch() -> None:
    code = "import sys, app.main, app.server; print({'torch', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_it_refuses_to_be_open_to_others_without_a_key(record: dict[str, Any]) -> None:
    command = [sys.executable, "-P", "-m", "app"]
    done = subprocess.run(
        command, env=environment(host="0.0.0.0", **record), capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0
    assert "API key" in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_does_not_grow_with_the_upload(
    record: dict[str, Any], until: Callable[..., None], tmp_path: Path
) -> None:
    with process(**record) as (running, url):
        until(lambda: answers(url), 30)
        httpx.post(f"{url}/v1/models", content=b"warm")
        before = peak_bytes(running.pid)
        chunk = os.urandom(MIB)
        answer = httpx.post(f"{url}/v1/models", content=(chunk for _ in range(256)), timeout=120)
        assert (answer.status_code, answer.json()["size_bytes"]) == (201, 256 * MIB)
        assert peak_bytes(running.pid) - before < 64 * MIB


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_it_stops_soon_with_a_connection_open(record: dict[str, Any], until: Callable[..., None]) -> None:
    with process(**record) as (running, url):
        until(lambda: answers(url), 30)
        with httpx.Client() as client:
            client.get(f"{url}/healthz")
            started = time.monotonic()
            running.send_signal(signal.SIGTERM)
            running.wait(20)
        assert time.monotonic() - started < 5


def test_a_taken_port_is_said(record: dict[str, Any], door: Any) -> None:
    command = [sys.executable, "-P", "-m", "app"]
    env = environment(port=door.port, **record)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr
