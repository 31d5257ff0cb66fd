"""Whatever the description allows, and much that it does not: no crash, and every answer as described."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.settings import Settings
from secateur.ids import new_id

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = 21


@pytest.fixture(scope="module")
def api(redis_url: str, door_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("data")
    with door_of(Settings(redis_url=redis_url, data_dir=folder, namespace=new_id("wrk"), port=0)) as door:
        schema = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
        yield schema.exclude(operation_id="get_readiness")  # no worker: 503, as it should be


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_as_described(api: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) == OPERATIONS
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (operation.body or list(operation.iter_parameters())):
            continue  # nothing to be wrong about

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, timeout=10)

        check()
