"""Reading a job spec: strict JSON with a cap, then the schema; every problem with a pointer into what was sent."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn

from fastapi import Depends
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from app.dependencies import SettingsDep
from app.errors import pointer
from app.examples import SPEC, STRUCTURED_SPEC
from app.uploads import too_large
from secateur.errors import BadRequest, IncompleteUpload, InvalidSpec, UnsupportedMedia
from secateur.resources import Finding
from secateur.spec import JobSpec
from secateur.spec.location import location, said

MAX_PROBLEMS = 200
REMEDY = "send the spec as JSON: curl -H 'Content-Type: application/json' --data-binary @spec.json URL"

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/JobSpec"},
                "examples": {"weights": {"value": SPEC}, "units": {"value": STRUCTURED_SPEC}},
            }
        },
    }
}


async def json_body(request: Request, settings: SettingsDep) -> Any:
    """The JSON of a request body. Raises UnsupportedMedia, TooLarge, BadRequest."""
    media_type = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMedia(f"the body is declared as {media_type!r}, not as JSON", remedy=REMEDY)
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("the body is compressed", remedy=REMEDY)
    return parse(await _read(request, settings.max_spec_bytes))


JsonBody = Annotated[Any, Depends(json_body)]


async def _read(request: Request, limit_bytes: int) -> bytes:
    announced = int(request.headers.get("Content-Length", "0"))
    if announced > limit_bytes:
        raise too_large(announced, limit_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise too_large(None, limit_bytes)
    except ClientDisconnect as error:
        raise IncompleteUpload() from error
    return bytes(body)


def parse(body: bytes) -> Any:
    """JSON as RFC 8259 has it, and nothing that two readers could understand differently. Raises BadRequest."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could not be written back
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply", remedy=REMEDY) from error
    except ValueError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", remedy=REMEDY) from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} is there twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def problems(value: Any) -> tuple[JobSpec | None, list[Finding]]:
    """The spec that a JSON value holds, or what is wrong with it: all of it, up to MAX_PROBLEMS."""
    try:
        return JobSpec.model_validate(value), []
    except ValidationError as error:
        return None, [
            Finding(
                code=InvalidSpec.code,
                pointer=pointer(location(problem["loc"], value)),
                message=said(problem["msg"]),
            )
            for problem in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
        ]


def job_spec(value: JsonBody) -> JobSpec:
    """The spec that a request sends. Raises InvalidSpec."""
    spec, found = problems(value)
    if spec is None:
        detail = "; ".join(f"{each.pointer or '/'}: {each.message}" for each in found[:5])
        raise InvalidSpec(f"the spec has {len(found)} problem(s): {detail}", errors=found)
    return spec


SpecBody = Annotated[JobSpec, Depends(job_spec)]
