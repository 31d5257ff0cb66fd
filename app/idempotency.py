"""Requests that may be sent twice: the Idempotency-Key header and the fingerprint of what it was used for."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Header
from starlette.requests import Request

from store.idempotency import IdempotencyKey

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="The same key with the same request, within 24 hours, gives what was made the first time.",
    ),
]

REPLAYED = {"Idempotency-Replayed": "true"}


def idempotency_key(header: str | None, request: Request, *content: str) -> IdempotencyKey | None:
    """The key with a fingerprint of method, path and what the request says; None without a header."""
    if header is None:
        return None
    text = "\0".join((request.method, request.url.path, *content))
    return IdempotencyKey(header, hashlib.sha256(text.encode()).hexdigest())
