"""Errors as HTTP says them: the one place where the error tree meets status codes, as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.headers import SECURITY_HEADERS
from secateur import errors

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

# A class stands for all below it; the nearest ancestor counts.
STATUS: dict[type[errors.SecateurError], int] = {
    errors.SecateurError: 500,
    errors.BadUpload: 422,
    errors.DigestMismatch: 400,
    errors.IncompleteUpload: 408,
    errors.TooLarge: 413,
    errors.BadRequest: 400,
    errors.UnsupportedMedia: 415,
    errors.InvalidSpec: 422,
    errors.IdempotencyMismatch: 422,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.RangeNotSatisfiable: 416,
    errors.Unavailable: 503,
    errors.NoSpace: 507,
}

HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="secateur"'},
    408: {"Connection": "close"},
    503: {"Retry-After": str(RETRY_AFTER_S)},
}

# What the framework finds by itself, before any code of ours runs.
CODES: dict[int, str] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Problem(BaseModel):
    """Why a request was refused (RFC 9457). Further fields say what was found."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:secateur:problem:not_found"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; programs decide by this.")
    remedy: str | None = Field(default=None, description="The way out, where it is not in `detail`.")
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="Every single problem; `pointer` (RFC 6901) says where."
    )
    instance: str


def status_of(error: errors.SecateurError) -> int:
    """The status code of an error: that of its nearest ancestor in STATUS."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(error: errors.SecateurError, request: Request) -> JSONResponse:
    """The problem document of an error of ours."""
    status = status_of(error)
    return document(request, status, error.code, error.message, error.context, error.remedy)


def document(
    request: Request, status: int, code: str, detail: str, context: Mapping[str, Any], remedy: str | None = None
) -> JSONResponse:
    """A problem document; `context` becomes its further fields and cannot shadow the standard ones."""
    body: dict[str, Any] = {
        "type": f"urn:secateur:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "instance": quote(request.url.path),
    }
    if remedy is not None:
        body["remedy"] = remedy
    body |= {key: value for key, value in to_jsonable_python(dict(context), fallback=str).items() if key not in body}
    headers = SECURITY_HEADERS | HEADERS.get(status, {})
    if status == 416 and "size_bytes" in context:
        headers["Content-Range"] = f"bytes */{context['size_bytes']}"
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def pointer(location: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def install(app: FastAPI) -> None:
    """Every error that leaves `app` is a problem document."""
    app.add_exception_handler(errors.SecateurError, _ours)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.SecateurError)
    return answer(error, request)


async def _bad_parameters(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [
        {"code": "bad_request", "pointer": pointer(problem["loc"]), "message": problem["msg"]}
        for problem in error.errors()
    ]
    detail = "; ".join(f"{each['pointer']}: {each['message']}" for each in found)
    return document(request, 422, "bad_request", detail, {"errors": found})


async def _framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    response = document(request, error.status_code, code, f"{phrase}: {request.method} {quote(request.url.path)}", {})
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return answer(errors.SecateurError(), request)
