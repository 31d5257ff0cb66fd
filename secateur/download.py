"""A file from the server to a folder: streamed, resumed where it broke off, and only there when its digest is right."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Literal

import httpx

from secateur.errors import DigestMismatch, SecateurError
from secateur.resources import Artifact
from secateur.transport import ApiError, Transport

CHUNK_BYTES = 1 << 20
ATTEMPTS = 5


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal; the file is never in memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repr_digest(sha256: str) -> str:
    """A hexadecimal digest as the header Repr-Digest (RFC 9530) writes it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def download(transport: Transport, url: str, artifact: Artifact, folder: Path) -> Path:
    """Bring `artifact` into `folder` under its name and return its path.

    The bytes are collected in `NAME.part`; one that an earlier call left is completed. Raises DigestMismatch when what
    arrives is not what the server announced.
    """
    if Path(artifact.name).name != artifact.name or artifact.name in {"", ".", ".."}:
        raise SecateurError(f"the server names an artifact {artifact.name!r}, which is no plain file name")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / artifact.name
    if path.is_file() and path.stat().st_size == artifact.size_bytes and sha256_of(path) == artifact.sha256:
        return path
    part = folder / f"{artifact.name}.part"
    if not complete(transport, url, artifact, part) and not complete(transport, url, artifact, part):
        raise DigestMismatch(f"{artifact.name} does not have the digest that the server announced; it was not kept")
    os.replace(part, path)
    return path


def complete(transport: Transport, url: str, artifact: Artifact, part: Path) -> bool:
    """Fill `part` up to the announced size. False, and the file is gone, when its digest is wrong."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            append(transport, url, artifact, part)
            break
        except httpx.TransportError as error:
            if attempt == ATTEMPTS:
                raise transport.unreachable(f"broke off while sending {artifact.name}: {error}") from error
    if sha256_of(part) == artifact.sha256:
        return True
    part.unlink()
    return False


def append(transport: Transport, url: str, artifact: Artifact, part: Path) -> None:
    """Ask for the bytes that are missing and write them behind those that are there."""
    have = part.stat().st_size if part.exists() else 0
    if have == artifact.size_bytes and part.exists():
        return
    headers = {"Accept-Encoding": "identity"}
    if 0 < have < artifact.size_bytes:
        headers |= {"Range": f"bytes={have}-", "If-Range": f'"{artifact.sha256}"'}
    with transport.stream(url, headers) as response, part.open(writing(response)) as file:
        for chunk in response.iter_bytes(CHUNK_BYTES):
            file.write(chunk)
            if file.tell() > artifact.size_bytes:
                raise ApiError("unexpected_answer", f"{artifact.name} is longer than the server announced")
        file.flush()
        os.fsync(file.fileno())


def writing(response: httpx.Response) -> Literal["ab", "wb"]:
    """Whether the answer goes behind what is there (206) or replaces it (200)."""
    return "ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb"
