"""Sending a file: ranges, entity tags, digests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from app import digests
from app.ranges import byte_range
from secateur.resources import Artifact

CHUNK_BYTES = 1 << 20
MEDIA_TYPE = "application/octet-stream"


def send_file(path: Path, artifact: Artifact, method: str, headers: Headers) -> Response:
    """The answer to a GET or HEAD of a file: 200, 206 or 304. Raises RangeNotSatisfiable."""
    common = {
        "ETag": f'"{artifact.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(artifact.name),
        "Cache-Control": "private, no-cache",
        **digests.header(artifact.sha256),
    }
    if matches(headers.get("If-None-Match"), artifact.sha256):
        return Response(status_code=304, headers=common)
    if method == "HEAD":
        return Response(headers={**common, "Content-Length": str(artifact.size_bytes)}, media_type=MEDIA_TYPE)
    return _body(path, artifact, _wanted(headers, artifact), common)


def _wanted(headers: Headers, artifact: Artifact) -> range | None:
    """The part that is asked for; If-Range asks for all where the file is another one."""
    if headers.get("If-Range", f'"{artifact.sha256}"') != f'"{artifact.sha256}"':
        return None
    return byte_range(headers.get("Range"), artifact.size_bytes)


def _body(path: Path, artifact: Artifact, part: range | None, common: dict[str, str]) -> Response:
    sent = range(artifact.size_bytes) if part is None else part
    headers = {**common, "Content-Length": str(len(sent))}
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{artifact.size_bytes}"
    status = 200 if part is None else 206
    return StreamingResponse(_slice(path, sent), status_code=status, headers=headers, media_type=MEDIA_TYPE)


async def _slice(path: Path, part: range) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        await file.seek(part.start)
        left = len(part)
        while left and (chunk := await file.read(min(CHUNK_BYTES, left))):
            yield chunk
            left -= len(chunk)


def matches(if_none_match: str | None, sha256: str) -> bool:
    """Whether an If-None-Match header names this file; weak tags count, as RFC 9110 has it."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or f'"{sha256}"' in tags


def disposition(name: str) -> str:
    """A Content-Disposition header (RFC 6266) for a name of any characters."""
    quoted = quote(name, safe="")
    plain = name if quoted == name else "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quoted}"
