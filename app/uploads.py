"""The one room where models and data sets come in: a raw body, streamed to the disk, counted and hashed on the way."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, NamedTuple

import anyio
from anyio import to_thread
from fastapi import Depends, Query, Response
from pydantic import AfterValidator
from starlette.requests import ClientDisconnect, Request

from app import digests
from app.dependencies import SettingsDep, StoreDep
from app.idempotency import REPLAYED, KeyHeader, idempotency_key
from app.settings import Settings
from secateur.errors import BadUpload, DigestMismatch, IncompleteUpload, NoSpace, TooLarge, UnsupportedMedia
from secateur.resources import Dataset, Model
from store.blobs import Blob, BlobWriter
from store.store import Store

BUFFER_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself, not a form: `curl -X POST -T FILE URL`.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("only printable characters are allowed")
    return name


Name = Annotated[
    str,
    Query(min_length=1, max_length=255, description="What people call the file; never used as a path."),
    AfterValidator(_printable),
]


class Delivery(NamedTuple):
    """One upload at the door: who sends it, under which name and key."""

    request: Request
    response: Response
    store: Store
    settings: Settings
    name: str
    key: str | None

    async def receive(self, noun: Literal["model", "dataset"], limit_bytes: int) -> Model | Dataset:
        """Take the body in and make its record; the same request under the same key gives the record made first."""
        await to_thread.run_sync(self.store.ping)  # rather than after gigabytes that nobody could then record
        blob = await take_in(self.request, self.store, limit_bytes, self.settings.upload_idle_s)
        key = idempotency_key(self.key, self.request, self.name, blob.sha256)
        record, new = await to_thread.run_sync(self.store.uploads.create, noun, self.name, blob, key)
        self.response.headers["Location"] = f"{self.request.url.path}/{record.id}"
        self.response.headers.update(digests.header(record.sha256) | ({} if new else REPLAYED))
        return record


async def _delivery(
    request: Request,
    response: Response,
    store: StoreDep,
    settings: SettingsDep,
    name: Name = "unnamed",
    key: KeyHeader = None,
) -> Delivery:
    return Delivery(request, response, store, settings, name, key)


DeliveryDep = Annotated[Delivery, Depends(_delivery)]


async def take_in(request: Request, store: Store, limit_bytes: int, idle_s: float) -> Blob:
    """Stream the body of a request into the blob store. Memory stays bounded; on any error nothing is left behind.

    Raises:
        UnsupportedMedia: A form or a compressed body.
        TooLarge: More than `limit_bytes`, by the header or while reading.
        IncompleteUpload: The client went away, or sent nothing for `idle_s`.
        DigestMismatch: The bytes are not those that the digest header promised.
        BadUpload: There is no body.
        NoSpace: The disk is full.
    """
    _refuse_forms(request)
    promised = digests.promised(request.headers)
    announced = int(request.headers.get("Content-Length", "0"))
    if announced > limit_bytes:
        raise too_large(announced, limit_bytes)
    try:
        with store.blobs.writer() as writer:
            async for piece in _pieces(request, limit_bytes, idle_s):
                await to_thread.run_sync(writer.write, piece)
            _check(writer, promised)
            return await to_thread.run_sync(writer.commit)
    except OSError as error:
        if error.errno in FULL:
            raise NoSpace() from error
        raise


async def _pieces(request: Request, limit_bytes: int, idle_s: float) -> AsyncIterator[bytes]:
    """The body in pieces of about BUFFER_BYTES: a thread is not woken for each 64 KiB from the socket."""
    total, piece = 0, bytearray()
    async for chunk in _chunks(request, idle_s):
        total += len(chunk)
        if total > limit_bytes:
            raise too_large(None, limit_bytes)
        piece += chunk
        if len(piece) >= BUFFER_BYTES:
            yield bytes(piece)
            piece = bytearray()
    if piece:
        yield bytes(piece)


async def _chunks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(idle_s):
                chunk = await anext(stream, None)
        except (ClientDisconnect, TimeoutError) as error:
            raise IncompleteUpload() from error
        if chunk is None:
            return
        yield chunk


def _refuse_forms(request: Request) -> None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMedia(f"the body has the Content-Encoding {encoding!r}", remedy="send the file as it is")
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type.startswith("multipart/") or media_type == "application/x-www-form-urlencoded":
        raise UnsupportedMedia(
            f"the body is a form ({media_type}); this takes the bytes of the file and nothing around them",
            remedy=f"curl -X POST -T FILE {request.url.path}?name=FILE  (or --data-binary with "
            "-H 'Content-Type: application/octet-stream')",
        )


def _check(writer: BlobWriter, promised: set[str]) -> None:
    if writer.size_bytes == 0:
        raise BadUpload("the body is empty", remedy="send the file as the body: curl -X POST -T FILE URL")
    if promised - {writer.sha256}:
        raise DigestMismatch(expected=sorted(promised), found=writer.sha256)


def too_large(found_bytes: int | None, limit_bytes: int) -> TooLarge:
    """The error for a body over the limit; its size is known only where it was announced."""
    found = "more" if found_bytes is None else f"{found_bytes} bytes"
    return TooLarge(f"the body may have {limit_bytes} bytes at most; found {found}", limit_bytes=limit_bytes)
