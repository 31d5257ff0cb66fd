from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from app.errors import STATUS, pointer, status_of
from app.main import create_app
from app.settings import Settings
from secateur import errors

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SecateurError)]


@pytest.fixture(scope="module")
def raising() -> TestClient:
    """A door with a route that raises what it is told to; its store is never opened."""
    app = create_app(Settings())

    @app.get("/raise/{code}")
    def fail(code: str) -> None:
        if code == "bug":
            raise RuntimeError("secret detail")
        raise next(kind for kind in TREE if kind.code == code)(remedy="the way out", found=1, status=200, size_bytes=3)

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.code)
def test_every_error_is_a_problem_document(raising: TestClient, kind: type[errors.SecateurError]) -> None:
    answer = raising.get(f"/raise/{kind.code}")
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == status_of(kind())
    assert (problem["code"], problem["detail"], problem["remedy"]) == (kind.code, kind().message, "the way out")
    assert (problem["type"], problem["instance"]) == (f"urn:secateur:problem:{kind.code}", f"/raise/{kind.code}")
    assert problem["found"] == 1


def test_the_nearest_ancestor_decides() -> None:
    assert status_of(errors.TooLarge()) == 413
    assert status_of(errors.CorruptArchive()) == status_of(errors.BadUpload()) == 422
    assert status_of(errors.Diverged()) == 500
    assert set(STATUS) <= set(TREE)


def test_a_bug_tells_nothing(raising: TestClient) -> None:
    answer = raising.get("/raise/bug")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("PATCH", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_what_the_framework_refuses(raising: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = raising.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/v1/jobs", "/nothing", "/healthz"])
def test_headers_of_every_answer(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_pointer() -> None:
    assert pointer(()) == ""
    assert pointer(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
