"""SHA-256 in headers: `Repr-Digest` and `Content-Digest` (RFC 9530)."""

from __future__ import annotations

import base64
import binascii
import re

from starlette.datastructures import Headers

from secateur.errors import BadRequest

NAMES = ("Repr-Digest", "Content-Digest")
MEMBER = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


def header(sha256: str) -> dict[str, str]:
    """The Repr-Digest header of a hexadecimal SHA-256."""
    return {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"}


def promised(headers: Headers) -> set[str]:
    """The hexadecimal SHA-256 digests that a request promises for its body: none, one, or two that differ.

    Raises:
        BadRequest: A digest header holds no SHA-256: the sender would believe that something was checked.
    """
    return {_parse(name, value) for name in NAMES for value in headers.getlist(name)}


def _parse(name: str, value: str) -> str:
    members = [part.strip() for part in value.split(",")]
    match = next(filter(None, map(MEMBER.fullmatch, members)), None)
    try:
        return base64.b64decode(match[1], validate=True).hex() if match else _refuse(name)
    except binascii.Error:
        return _refuse(name)


def _refuse(name: str) -> str:
    raise BadRequest(f"the header {name} holds no SHA-256", remedy=f"send `{name}: sha-256=:BASE64:`, or leave it out")
