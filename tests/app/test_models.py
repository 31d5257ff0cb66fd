"""What the API shows of a model's units."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import examples


@pytest.fixture
def model_id(client: TestClient, worker: Any) -> str:
    """An inspected model."""
    created: str = client.post("/v1/models", content=b"model").json()["id"]
    worker.inspect()
    return created


def test_a_model_is_shown_with_the_scores_of_its_units(client: TestClient, model_id: str) -> None:
    shown = client.get(f"/v1/models/{model_id}").json()["inspection"]["units"]
    assert shown == examples.MODEL["inspection"]["units"]
    assert len(shown["groups"][0]["l2"]) == 64


def test_a_list_shows_groups_without_the_scores_of_units(client: TestClient, model_id: str) -> None:
    (listed,) = client.get("/v1/models").json()["data"]
    assert listed["id"] == model_id
    shown = listed["inspection"]["units"]
    (group,) = shown["groups"]
    assert (group["name"], group["size"], group["l1"], group["l2"]) == ("hidden.weight", 64, [], [])
    assert shown["parameters"] == examples.MODEL["inspection"]["units"]["parameters"]


def test_a_structured_spec_is_validated_and_queued(client: TestClient, spec: dict[str, Any], worker: Any) -> None:
    wanted = {**spec, "prune": examples.STRUCTURED_SPEC["prune"]}
    worker.inspect()
    verdict = client.post("/v1/jobs/validate", json=wanted).json()
    expected = examples.STRUCTURED_VALIDATION["forecast"]
    assert {**verdict["forecast"], "examples": expected["examples"]} == expected
    job = client.post("/v1/jobs", json=wanted).json()
    assert job["spec"]["prune"]["max_amount"] == 0.9


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"granularity": "head"}, "nothing_prunable", "/prune/granularity"),
        ({"max_amount": 0.2}, "target_unreachable", "/prune/target/amount"),
        ({"layers": {"include": ["fc*"]}}, "nothing_matches", "/prune/layers/include/0"),
    ],
)
def test_what_cannot_be_pruned_is_refused_before_it_is_queued(
    client: TestClient, spec: dict[str, Any], worker: Any, changes: dict[str, Any], code: str, pointer: str
) -> None:
    worker.inspect()
    answer = client.post("/v1/jobs", json={**spec, "prune": {**examples.STRUCTURED_SPEC["prune"], **changes}})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert client.get("/v1/jobs").json()["data"] == []
