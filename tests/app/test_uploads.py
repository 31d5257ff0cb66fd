from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.settings import Settings

MIB = 1 << 20


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def chunked(*pieces: bytes) -> Iterator[bytes]:
    yield from pieces


@pytest.mark.parametrize("noun", ["models", "datasets"])
@pytest.mark.parametrize("streamed", [False, True])
def test_upload_is_stored_as_it_was_sent(client: TestClient, store: Any, noun: str, streamed: bool) -> None:
    data = bytes(range(256)) * 1000
    answer = client.post(f"/v1/{noun}?name=some file.pt2", content=chunked(data[:7], data[7:]) if streamed else data)
    record = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/{noun}/{record['id']}"
    assert answer.headers["Repr-Digest"] == digest(data)
    assert (record["state"], record["name"], record["size_bytes"]) == ("inspecting", "some file.pt2", len(data))
    assert store.blobs.path(record["sha256"]).read_bytes() == data
    assert client.get(answer.headers["Location"]).json() == record
    assert [each["id"] for each in client.get(f"/v1/{noun}").json()["data"]] == [record["id"]]


def test_inspected_upload_is_ready(client: TestClient, worker: Any) -> None:
    id_ = client.post("/v1/models", content=b"model").json()["id"]
    worker.inspect()
    record = client.get(f"/v1/models/{id_}").json()
    assert record["state"] == "ready"
    assert record["inspection"]["layers"][0]["name"] == "hidden.weight"


def test_a_noun_shows_only_its_own(client: TestClient) -> None:
    id_ = client.post("/v1/models", content=b"model").json()["id"]
    assert client.get(f"/v1/datasets/{id_}").status_code == 404
    assert client.get("/v1/datasets").json()["data"] == []


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
def test_digest_is_checked(client: TestClient, leftovers: Callable[[], list[Path]], header: str) -> None:
    wrong = client.post("/v1/models", content=b"model", headers={header: digest(b"other")})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest_mismatch")
    assert leftovers() == []
    assert client.get("/v1/models").json()["data"] == []
    assert client.post("/v1/models", content=b"model", headers={header: digest(b"model")}).status_code == 201


def test_all_digests_are_checked(client: TestClient) -> None:
    headers = [("Repr-Digest", digest(b"model")), ("Content-Digest", digest(b"other"))]
    assert client.post("/v1/models", content=b"model", headers=headers).json()["code"] == "digest_mismatch"


@pytest.mark.parametrize("value", ["sha-512=:AAAA:", "sha-256=:AAAA:", "nonsense", "", "sha-256=" + "A" * 43 + "="])
def test_digest_that_cannot_be_checked_is_refused(client: TestClient, value: str) -> None:
    answer = client.post("/v1/models", content=b"model", headers={"Repr-Digest": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_other_algorithms_beside_sha_256_are_let_be(client: TestClient) -> None:
    headers = {"Repr-Digest": f"sha-512=:AAAA:, {digest(b'model')}"}
    assert client.post("/v1/models", content=b"model", headers=headers).status_code == 201


@pytest.mark.parametrize("streamed", [False, True])
def test_too_large(client: TestClient, leftovers: Callable[[], list[Path]], streamed: bool) -> None:
    pieces = [b"x" * MIB, b"y"]
    answer = client.post("/v1/models", content=chunked(*pieces) if streamed else b"".join(pieces))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["limit_bytes"] == MIB
    assert leftovers() == []
    assert client.post("/v1/models", content=pieces[0]).status_code == 201


def test_empty_body(client: TestClient, leftovers: Callable[[], list[Path]]) -> None:
    answer = client.post("/v1/models")
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_upload")
    assert "curl" in answer.json()["remedy"]
    assert leftovers() == []


def test_forms_are_refused_with_the_command_that_works(client: TestClient) -> None:
    answer = client.post("/v1/models", files={"file": b"model"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")
    assert "curl -X POST -T" in answer.json()["remedy"]


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/models", content=b"model", headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\0b", "\u202e"])
def test_bad_names(client: TestClient, leftovers: Callable[[], list[Path]], name: str) -> None:
    answer = client.post("/v1/models", params={"name": name}, content=b"model")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/name"
    assert leftovers() == []


def test_a_name_is_no_path(client: TestClient, leftovers: Callable[[], list[Path]]) -> None:
    answer = client.post("/v1/models", params={"name": "../../evil"}, content=b"model")
    assert answer.json()["name"] == "../../evil"
    assert [path.name for path in leftovers()] == [answer.json()["sha256"]]


def test_same_key_gives_the_same_record(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/models?name=a", content=b"model", headers=headers)
    again = client.post("/v1/models?name=a", content=b"model", headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert len(client.get("/v1/models").json()["data"]) == 1


@pytest.mark.parametrize(("url", "data"), [("/v1/models?name=a", b"other"), ("/v1/models?name=b", b"model")])
def test_same_key_with_another_request(client: TestClient, url: str, data: bytes) -> None:
    headers = {"Idempotency-Key": "once"}
    client.post("/v1/models?name=a", content=b"model", headers=headers)
    answer = client.post(url, content=data, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert len(client.get("/v1/models").json()["data"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü".encode()])
def test_keys_that_cannot_be_used(client: TestClient, key: str | bytes) -> None:
    assert client.post("/v1/models", content=b"model", headers={"Idempotency-Key": key}).status_code == 422


def test_delete(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    job = client.post("/v1/jobs", json=spec).json()
    refused = client.delete(f"/v1/models/{spec['model']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/models/{spec['model']}").status_code == 204
    assert client.get(f"/v1/models/{spec['model']}").status_code == 404


def test_pages(client: TestClient) -> None:
    ids = [client.post("/v1/models", content=b"model %d" % i).json()["id"] for i in range(5)]
    seen: list[str] = []
    after = None
    while True:
        page = client.get("/v1/models", params={"limit": 2} | ({"after": after} if after else {})).json()
        assert len(page["data"]) <= 2
        seen += [each["id"] for each in page["data"]]
        if (after := page["next"]) is None:
            break
    assert sorted(seen) == sorted(ids)
    assert len(set(seen)) == 5


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "after="])
def test_bad_pages(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/models?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/" + query.partition("=")[0]


def test_a_full_disk_is_said(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, leftovers: Callable[[], list[Path]]
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("store.blobs.BlobWriter.write", no_space)
    with TestClient(app) as client:
        answer = client.post("/v1/models", content=b"model")
    assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
    assert leftovers() == []


def head(length: int | str, more: str = "") -> bytes:
    return f"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def test_an_upload_that_is_cut_off_leaves_nothing(
    door: Any, leftovers: Callable[[], list[Path]], until: Callable[..., None]
) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as connection:
        connection.sendall(head(1000_000) + b"x" * 500_000)
        until(leftovers)
    until(lambda: not leftovers())
    assert door.store.uploads.list("model", None, 10).data == ()


def test_an_upload_that_stalls_is_dropped(
    settings: Settings, door_of: Any, leftovers: Callable[[], list[Path]]
) -> None:
    with door_of(settings.model_copy(update={"upload_idle_s": 0.3})) as door:
        with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
            connection.sendall(head(1000) + b"x")
            answer = read_all(connection)
        assert b" 408 " in answer.splitlines()[0]
        assert b"incomplete_upload" in answer
        assert leftovers() == []


def test_expectation_is_answered_before_the_body(door: Any) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(head(5, "Expect: 100-continue\r\nConnection: close\r\n"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"model")
        assert b" 201 " in read_all(connection).splitlines()[0]


def test_too_large_is_said_before_the_body_is_asked_for(door: Any) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(head(2 * MIB, "Expect: 100-continue\r\n"))
        started = time.monotonic()
        answer = read_all(connection)
    assert b" 413 " in answer.splitlines()[0]
    assert time.monotonic() - started < 1


def test_the_refusal_reaches_a_client_that_goes_on_sending(door: Any) -> None:
    """Without lingering, the reset of the connection would overtake the answer."""
    total = 32 * MIB
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as connection:
        connection.sendall(head(total))
        sender = threading.Thread(target=lambda: connection.sendall(b"x" * total))
        sender.start()
        sender.join()
        assert b" 413 " in read_all(connection).splitlines()[0]


@pytest.mark.parametrize("length", ["-1", "abc", "1" * 400])
def test_nonsense_lengths(door: Any, length: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(head(length))
        assert read_all(connection).split()[1] in (b"400", b"413")


def read_all(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(65536):
        data += piece
    return bytes(data)
