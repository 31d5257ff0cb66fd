from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from secateur import redis_server
from secateur.errors import StackError
from secateur.redis_server import RedisServer

PARENT = """
import sys, time
from pathlib import Path
from secateur.redis_server import RedisServer
server = RedisServer(Path(sys.argv[1])).start()
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "a folder's data", password='p"w #1') as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


def test_it_is_private_and_durable(server: RedisServer, client: redis.Redis) -> None:
    for option, value in {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }.items():
        assert client.config_get(option) == {option: value}
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_data_port_and_password_survive(server: RedisServer, client: redis.Redis, end: str) -> None:
    client.set("key", "value")
    first = server.pid
    getattr(server, end)()
    assert server.pid is None
    server.start()
    assert server.pid != first
    assert client.get("key") == "value"


def test_starting_a_running_one_changes_nothing(server: RedisServer) -> None:
    first = server.pid
    assert server.start().pid == first


def test_one_folder_has_one_server(server: RedisServer) -> None:
    with pytest.raises(StackError, match="Another Redis"):
        RedisServer(server.data_dir).start()


def test_a_taken_port_is_said_with_redis_own_words(server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"(?i)listening|bind|in use"):
        RedisServer(tmp_path / "other", port=server.port).start()


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    status = Path(f"/proc/{pid}/stat")
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists() or status.read_text().split()[2] == "Z"
    with redis.Redis.from_url(url, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    RedisServer(tmp_path / "data").start().stop()


def test_a_machine_without_redis_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(redis_server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StackError, match="apt-get install redis-server") as stopped:
        redis_server.executable()
    assert "\n" not in stopped.value.message


def test_the_one_on_path_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "valkey-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server.executable() == own
