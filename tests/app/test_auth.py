from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings

KEY = "correct-horse"


@pytest.fixture
def locked(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_key": SecretStr(KEY)})


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer é".encode()],
)
def test_without_the_key(locked: Settings, header: str | bytes | None) -> None:
    with TestClient(create_app(locked)) as client:
        answer = client.get("/v1/jobs", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthorized"
    assert KEY not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_key(locked: Settings, scheme: str) -> None:
    with TestClient(create_app(locked)) as client:
        assert client.get("/v1/jobs", headers={"Authorization": f"{scheme} {KEY}"}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json"])
def test_open_pages(locked: Settings, path: str) -> None:
    with TestClient(create_app(locked)) as client:
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/v1/models/x", "/healthz/", "//healthz"])
def test_everything_else_is_closed(locked: Settings, path: str) -> None:
    with TestClient(create_app(locked)) as client:
        assert client.get(f"http://testserver{path}").status_code == 401


def test_the_key_is_asked_for_before_the_body(
    locked: Settings, door_of: Callable[..., Any], leftovers: Callable[[], list[Path]]
) -> None:
    with (
        door_of(locked) as door,
        socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection,
    ):
        connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")
        assert leftovers() == []
