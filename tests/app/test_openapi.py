from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from app import examples
from secateur.report import Report
from secateur.resources import Artifact, Dataset, Event, Job, Model, Validation, Worker
from secateur.spec import JobSpec

OPERATIONS = {
    "create_model": ("post", "/v1/models"),
    "list_models": ("get", "/v1/models"),
    "get_model": ("get", "/v1/models/{id}"),
    "delete_model": ("delete", "/v1/models/{id}"),
    "create_dataset": ("post", "/v1/datasets"),
    "list_datasets": ("get", "/v1/datasets"),
    "get_dataset": ("get", "/v1/datasets/{id}"),
    "delete_dataset": ("delete", "/v1/datasets/{id}"),
    "create_job": ("post", "/v1/jobs"),
    "validate_job": ("post", "/v1/jobs/validate"),
    "list_jobs": ("get", "/v1/jobs"),
    "get_job": ("get", "/v1/jobs/{id}"),
    "cancel_job": ("post", "/v1/jobs/{id}/cancel"),
    "delete_job": ("delete", "/v1/jobs/{id}"),
    "list_events": ("get", "/v1/jobs/{id}/events"),
    "get_report": ("get", "/v1/jobs/{id}/report"),
    "list_artifacts": ("get", "/v1/jobs/{id}/artifacts"),
    "get_artifact": ("get", "/v1/jobs/{id}/artifacts/{name}"),
    "head_artifact": ("head", "/v1/jobs/{id}/artifacts/{name}"),
    "list_workers": ("get", "/v1/workers"),
    "get_health": ("get", "/healthz"),
    "get_readiness": ("get", "/readyz"),
}


@pytest.fixture
def schema(client: TestClient) -> dict[str, Any]:
    schema: dict[str, Any] = client.get("/openapi.json").json()
    return schema


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def media(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every body that is described."""
    for _, _, operation in operations(schema):
        yield from operation.get("requestBody", {}).get("content", {}).values()
        for response in operation["responses"].values():
            yield from response.get("content", {}).values()


def shown(body: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in body.get("examples", {}).values()] + (
        [body["example"]] if "example" in body else []
    )


def test_operation_ids_are_stable(schema: dict[str, Any]) -> None:
    assert {each["operationId"]: (method, path) for method, path, each in operations(schema)} == OPERATIONS


def test_every_example_is_valid(schema: dict[str, Any]) -> None:
    count = 0
    for body in media(schema):
        if shown(body):
            validator = jsonschema_rs.validator_for({**body["schema"], "components": schema["components"]})
        for example in shown(body):
            assert [error.message for error in validator.iter_errors(example)] == []
            count += 1
    assert count >= 18


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        (JobSpec, examples.SPEC),
        (Model, examples.MODEL),
        (Dataset, examples.DATASET),
        (Job, examples.JOB),
        (Job, examples.QUEUED_JOB),
        (Event, examples.EVENT),
        (Artifact, examples.ARTIFACT),
        (Worker, examples.WORKER),
        (Validation, examples.VALIDATION),
        (Validation, examples.INVALID),
        (Report, examples.REPORT),
    ],
)
def test_examples_go_round(kind: type[BaseModel], example: dict[str, Any]) -> None:
    record = kind.model_validate(example)
    assert kind.model_validate(record.model_dump(mode="json")) == record


def test_every_error_is_described(schema: dict[str, Any]) -> None:
    for _, _, operation in operations(schema):
        problem = operation["responses"]["default"]["content"]["application/problem+json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert "422" not in operation["responses"]


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    known = schema["components"]["schemas"]

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for each in node.values():
                yield from references(each)
        elif isinstance(node, list):
            for each in node:
                yield from references(each)

    assert {each.removeprefix("#/components/schemas/") for each in references(schema)} <= set(known)


def test_bodies_of_uploads_are_bytes(schema: dict[str, Any]) -> None:
    for noun in ("models", "datasets"):
        content = schema["paths"][f"/v1/{noun}"]["post"]["requestBody"]["content"]
        assert content["application/octet-stream"]["schema"]["format"] == "binary"


def test_the_key_is_described_where_it_is_asked_for(schema: dict[str, Any]) -> None:
    for _, path, operation in operations(schema):
        assert ("security" in operation) == path.startswith("/v1/")
