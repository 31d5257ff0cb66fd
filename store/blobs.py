"""Bytes by their SHA-256: written once, whole and on disk before anybody can see them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

DIGEST = re.compile("[0-9a-f]{64}")


class Blob(NamedTuple):
    """A finished blob."""

    sha256: str
    size_bytes: int


class BlobWriter:
    """A blob that is being written. Leaving the context without `commit` leaves nothing behind."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._path = blobs.temporary()
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hexadecimal."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        self._file = self._path.open("xb")
        return self

    def write(self, chunk: bytes) -> None:
        """Append to the file.

        Raises:
            OSError: The disk is full, or worse.
        """
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def commit(self) -> Blob:
        """Make the blob: it is on disk when this returns, and nobody saw half of it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._blobs.publish(self._path, Blob(self.sha256, self.size_bytes))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class Blobs:
    """A folder of blobs, and one for what is on its way in or out; both on one file system."""

    def __init__(self, root: Path) -> None:
        self._root = root / "blobs"
        self._transit = root / "tmp"
        for folder in (self._root, self._transit):
            folder.mkdir(parents=True, exist_ok=True)

    def writer(self) -> BlobWriter:
        """A context in which a new blob is written."""
        return BlobWriter(self)

    def adopt(self, path: Path) -> Blob:
        """Make a blob of a finished file; it keeps its name, so this can be done again when what follows fails.

        Raises:
            OSError: It is no plain file on the file system of the blobs.
        """
        link = self.temporary()
        os.link(path, link, follow_symlinks=False)
        try:
            blob = _hashed(link)
            os.utime(link)
            return self.publish(link, blob)
        finally:
            link.unlink(missing_ok=True)

    def publish(self, path: Path, blob: Blob) -> Blob:
        """Give a finished temporary file its name as a blob."""
        target = self.path(blob.sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(exist_ok=True)
            _sync_folder(self._root)
        path.replace(target)
        path.unlink(missing_ok=True)  # renaming one link of a file onto another leaves both
        _sync_folder(target.parent)
        return blob

    def path(self, sha256: str) -> Path:
        """Where the blob is, or would be.

        Raises:
            ValueError: This is no SHA-256.
        """
        if not DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return self._root / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the blob is here."""
        return self.path(sha256).is_file()

    def remove(self, sha256: str) -> None:
        """Remove the blob; that it is not there is no mistake."""
        self.path(sha256).unlink(missing_ok=True)

    def hide(self, sha256: str) -> Path | None:
        """Take a blob out of sight until it is certain that nobody needs it; None when it is not there."""
        hidden = self.temporary()
        try:
            self.path(sha256).rename(hidden)
        except FileNotFoundError:
            return None
        return hidden

    def show(self, sha256: str, hidden: Path) -> None:
        """Bring a hidden blob back."""
        self.publish(hidden, Blob(sha256, hidden.stat().st_size))

    def temporary(self) -> Path:
        """A name that nobody uses, on the file system of the blobs."""
        return self._transit / secrets.token_hex(16)

    def left(self, older_s: float) -> Iterator[str]:
        """The blobs that nobody has written for so long."""
        for path in self._root.glob("??/*"):
            if DIGEST.fullmatch(path.name) and _is_older(path, older_s):
                yield path.name

    def sweep(self, older_s: float) -> None:
        """Remove temporary files that nobody has written to for so long: their writers are dead."""
        for path in self._transit.iterdir():
            if _is_older(path, older_s):
                path.unlink(missing_ok=True)


def _is_older(path: Path, older_s: float) -> bool:
    try:
        return path.stat().st_mtime < time.time() - older_s
    except FileNotFoundError:
        return False


def _hashed(path: Path) -> Blob:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        os.fsync(descriptor)
        return Blob(hashlib.file_digest(file, "sha256").hexdigest(), status.st_size)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
