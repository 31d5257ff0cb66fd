"""Whatever the description allows, and much that it does not: no crash, and every answer as described."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.settings import Settings
from secateur.ids import new_id

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def api(redis_url: str, door_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("data")
    with door_of(Settings(redis_url=redis_url, data_dir=folder, namespace=new_id("wrk"), port=0)) as door:
        schema = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
        yield schema.exclude(operation_id="get_readiness")  # no worker: 503, as it should be


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@hypothesis_settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)
