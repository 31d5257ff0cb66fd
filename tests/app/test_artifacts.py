from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import examples
from app.downloads import disposition
from secateur.report import Report
from secateur.resources import Artifact

DATA = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def url(client: TestClient, spec: dict[str, Any], worker: Any, store: Any) -> str:
    """The address of the artifacts of a job that succeeded."""
    location = client.post("/v1/jobs", json=spec).headers["Location"]
    worker.inspect()
    claim = worker.claim()
    with store.blobs.writer() as writer:
        writer.write(DATA)
        blob = writer.commit()
    claim.succeed(Report.model_validate(examples.REPORT), [Artifact(name="model.pt2", **blob._asdict())])
    return f"{location}/artifacts"


def test_list(client: TestClient, url: str) -> None:
    expected = {"name": "model.pt2", "size_bytes": len(DATA), "sha256": SHA256}
    assert client.get(url).json() == {"data": [expected], "next": None}


def test_download(client: TestClient, url: str) -> None:
    answer = client.get(f"{url}/model.pt2")
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["ETag"] == f'"{SHA256}"'
    assert answer.headers["Content-Length"] == str(len(DATA))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="model.pt2"')
    digest = base64.b64encode(bytes.fromhex(SHA256)).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"


def test_head_says_what_get_says(client: TestClient, url: str) -> None:
    head, get = client.head(f"{url}/model.pt2"), client.get(f"{url}/model.pt2")
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-99", slice(0, 100)), ("bytes=1000000-", slice(1_000_000, None)), ("bytes=-7", slice(-7, None))],
)
def test_parts(client: TestClient, url: str, header: str, part: slice) -> None:
    answer = client.get(f"{url}/model.pt2", headers={"Range": header})
    start, stop, _ = part.indices(len(DATA))
    assert (answer.status_code, answer.content) == (206, DATA[part])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers["Content-Length"] == str(stop - start)


def test_a_part_behind_the_end(client: TestClient, url: str) -> None:
    answer = client.get(f"{url}/model.pt2", headers={"Range": f"bytes={len(DATA)}-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"


def test_a_download_goes_on_only_with_the_same_file(client: TestClient, url: str) -> None:
    same = client.get(f"{url}/model.pt2", headers={"Range": "bytes=5-", "If-Range": f'"{SHA256}"'})
    other = client.get(f"{url}/model.pt2", headers={"Range": "bytes=5-", "If-Range": '"another"'})
    assert (same.status_code, same.content) == (206, DATA[5:])
    assert (other.status_code, other.content) == (200, DATA)


@pytest.mark.parametrize("tags", [f'"{SHA256}"', f'W/"{SHA256}"', f'"x", "{SHA256}"', "*"])
def test_a_file_that_is_there_already(client: TestClient, url: str, tags: str) -> None:
    answer = client.get(f"{url}/model.pt2", headers={"If-None-Match": tags})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == f'"{SHA256}"'


def test_another_file_is_there(client: TestClient, url: str) -> None:
    assert client.get(f"{url}/model.pt2", headers={"If-None-Match": '"x"'}).content == DATA


@pytest.mark.parametrize("name", ["none", "..%2fmodel.pt2", "%2e%2e", "model.pt2%00", "model.pt2%2f..%2fmodel.pt2"])
def test_names_that_nothing_has(client: TestClient, url: str, name: str) -> None:
    answer = client.get(f"{url}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_bytes_that_are_gone(client: TestClient, url: str, store: Any) -> None:
    store.blobs.remove(SHA256)
    assert client.get(f"{url}/model.pt2").status_code == 404


@pytest.mark.parametrize("name", ['a"b', "ü.pt2", "a\r\nX: y", "a;b", "naïve file.pt2"])
def test_disposition_is_one_clean_line(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith("attachment; filename=\"download\"; filename*=UTF-8''")
