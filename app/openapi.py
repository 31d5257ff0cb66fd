"""The API's description: what FastAPI writes by itself, and what problem documents look like."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.errors import MEDIA_TYPE, Problem
from secateur.spec import JobSpec

REF = "#/components/schemas/{model}"

DEFAULT_RESPONSE: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem document (RFC 9457); `code` is stable, `detail` and `remedy` name the way out.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}},
    }
}


def install(app: FastAPI) -> None:
    """Let `app.openapi()` know the schemas that no signature names."""
    build = app.openapi

    def with_problems() -> dict[str, Any]:
        schema = build()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (Problem, JobSpec):
            own = model.model_json_schema(ref_template=REF)
            schemas.update(own.pop("$defs", {}))
            schemas[model.__name__] = own
        return schema

    app.openapi = with_problems  # type: ignore[method-assign]
