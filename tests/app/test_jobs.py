from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import examples
from app.settings import Settings
from secateur.ids import new_id
from secateur.report import Report
from secateur.spec import JobSpec


def test_a_job_waits_for_the_inspection_and_is_queued_after_it(
    client: TestClient, spec: dict[str, Any], worker: Any
) -> None:
    answer = client.post("/v1/jobs", json=spec)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["waiting_for"], job["rounds"]) == ("queued", "inspection", 5)
    worker.inspect()
    job = client.get(answer.headers["Location"]).json()
    assert (job["state"], job["queue_position"]) == ("queued", 0)
    assert JobSpec.model_validate(job["spec"]) == JobSpec.model_validate(spec)


def test_the_whole_life(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    url = client.post("/v1/jobs", json=spec).headers["Location"]
    worker.inspect()
    claim = worker.claim()
    assert client.get(url).json()["state"] == "running"
    refused = client.get(f"{url}/report")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert client.delete(url).json()["code"] == "wrong_state"
    claim.succeed(Report.model_validate(examples.REPORT), [])
    assert client.get(url).json()["state"] == "succeeded"
    assert client.get(f"{url}/report").json() == examples.REPORT
    again = client.post(f"{url}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_cancel(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    queued = client.post("/v1/jobs", json=spec).headers["Location"]
    assert client.post(f"{queued}/cancel").json()["state"] == "cancelled"
    worker.inspect()
    running = client.post("/v1/jobs", json=spec).headers["Location"]
    worker.claim()
    answer = client.post(f"{running}/cancel").json()
    assert (answer["state"], answer["cancel_requested"]) == ("running", True)


def test_list_by_state(client: TestClient, spec: dict[str, Any]) -> None:
    first, second = (client.post("/v1/jobs", json=spec).json()["id"] for _ in range(2))
    client.post(f"/v1/jobs/{first}/cancel")

    def ids(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs{query}").json()["data"]]

    assert ids("") == [second, first]
    assert ids("?state=cancelled") == [first]
    assert ids("?state=running") == []
    assert client.get("/v1/jobs?state=lost").status_code == 422


def test_same_key_gives_the_same_job(client: TestClient, spec: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=spec, headers=headers)
    again = client.post("/v1/jobs", json=dict(reversed(spec.items())), headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = client.post("/v1/jobs", json=spec | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_the_order_of_overrides_is_part_of_the_request(client: TestClient, spec: dict[str, Any]) -> None:
    def ordered(*override: tuple[str, float]) -> dict[str, Any]:
        return spec | {"prune": spec["prune"] | {"layers": {"override": dict(override)}}}

    headers = {"Idempotency-Key": "once"}
    client.post("/v1/jobs", json=ordered(("*", 0.1), ("fc*", 0.2)), headers=headers)
    other = client.post("/v1/jobs", json=ordered(("fc*", 0.2), ("*", 0.1)), headers=headers)
    assert other.json()["code"] == "idempotency_mismatch"


def test_unknown_uploads(client: TestClient, spec: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json=spec | {"model": new_id("mdl")})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_invalid_spec(client: TestClient, spec: dict[str, Any]) -> None:
    answer = client.post("/v1/jobs", json=spec | {"seed": -1, "sede": 0})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_spec")
    assert {each["pointer"] for each in problem["errors"]} == {"/seed", "/sede"}
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_spec_that_does_not_fit(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    worker.inspect()
    wrong = spec | {"prune": spec["prune"] | {"layers": {"include": ["conv*"]}}}
    answer = client.post("/v1/jobs", json=wrong)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/prune/layers/include/0"]
    verdict = client.post("/v1/jobs/validate", json=wrong)
    assert verdict.status_code == 200
    assert [each["pointer"] for each in verdict.json()["problems"]] == ["/prune/layers/include/0"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_validate(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    pending = client.post("/v1/jobs/validate", json=spec).json()
    assert set(pending["pending"]) == {spec["model"], spec["data"]["train"]}
    worker.inspect()
    verdict = client.post("/v1/jobs/validate", json=spec).json()
    assert (verdict["valid"], verdict["problems"], verdict["pending"]) == (True, [], [])
    assert (verdict["forecast"]["weights"], verdict["forecast"]["zeros"]) == (4736, 4262)
    assert client.get("/v1/jobs").json()["data"] == []


def test_validate_names_every_problem_of_the_form(client: TestClient, spec: dict[str, Any]) -> None:
    verdict = client.post("/v1/jobs/validate", json=spec | {"seed": -1, "sede": 0})
    assert verdict.status_code == 200
    assert {each["pointer"] for each in verdict.json()["problems"]} == {"/seed", "/sede"}
    unknown = client.post("/v1/jobs/validate", json=spec | {"model": new_id("mdl")}).json()
    assert [each["pointer"] for each in unknown["problems"]] == ["/model"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"a":1,"a":1}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b" " * ((1 << 20) + 1), "application/json", 413),
    ],
)
def test_bodies_that_are_no_spec(client: TestClient, path: str, body: bytes, content_type: str, status: int) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_a_body_too_large_is_noticed_while_reading(client: TestClient, settings: Settings) -> None:
    def body() -> Any:
        yield b'"' + b"x" * settings.max_spec_bytes
        yield b'"'

    answer = client.post("/v1/jobs", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


FORMS = ["x", "{}_", "{}_" + "I" * 26, "{}_" + "0" * 25, "{}_" + "0" * 27, "..%2f..%2fetc", "%00"]


@pytest.mark.parametrize(("prefix", "noun"), [("mdl", "models"), ("dst", "datasets"), ("job", "jobs")])
def test_ids_that_name_nothing(client: TestClient, prefix: Any, noun: str) -> None:
    requests = [("GET", ""), ("DELETE", "")]
    if noun == "jobs":
        requests += [("POST", "/cancel"), ("GET", "/events"), ("GET", "/report"), ("GET", "/artifacts")]
    for id_ in [new_id(prefix), *(form.format(prefix) for form in FORMS)]:
        for method, path in requests:
            answer = client.request(method, f"/v1/{noun}/{id_}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
