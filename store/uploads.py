"""Models and data sets: the record of each, and the bytes that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from secateur.errors import NotFound, SecateurError
from secateur.ids import Noun, new_id
from secateur.resources import Dataset, Model, Page
from store.blobs import Blob, Blobs
from store.holds import Holds
from store.idempotency import IdempotencyKey
from store.records import Row, to_page, to_upload
from store.scripts import Scripts
from store.wake import Wake

UploadNoun = Literal["model", "dataset"]
PREFIXES: dict[UploadNoun, Noun] = {"model": "mdl", "dataset": "dst"}


class Uploads:
    """All models and data sets."""

    def __init__(self, scripts: Scripts, blobs: Blobs, holds: Holds, wake: Wake) -> None:
        self._scripts = scripts
        self._blobs = blobs
        self._holds = holds
        self._wake = wake

    def create(
        self, noun: UploadNoun, name: str, blob: Blob, key: IdempotencyKey | None = None
    ) -> tuple[Model | Dataset, bool]:
        """Record an uploaded blob and have it inspected; False: the key made it before.

        Raises:
            IdempotencyMismatch: The key was used with another request.
            Unavailable: Redis did not answer, or the bytes went away in this moment.
        """
        new = new_id(PREFIXES[noun])
        fields = {"name": name, "sha256": blob.sha256, "size_bytes": str(blob.size_bytes)}
        try:
            self._holds.hold(new, blob.sha256)
            made = self._scripts.run("create_upload", id=new, fields=fields, **(key._asdict() if key else {}))
        except SecateurError:
            self._forget(new)
            raise
        if made["id"] != new:
            self._holds.drop(new)
        else:
            self._wake.upload(new)
        return self.get(made["id"]), made["id"] == new

    def get(self, upload_id: str) -> Model | Dataset:
        """The model or data set as it stands.

        Raises:
            NotFound: There is none with this id.
        """
        return to_upload(self._row(upload_id))

    def list(self, noun: UploadNoun, after: str | None = None, limit: int = 20) -> Page[Model | Dataset]:
        """Newest first."""
        rows = self._scripts.run("page", noun=PREFIXES[noun], after=after, limit=limit)["rows"]
        return to_page(list(rows), limit, to_upload)

    def delete(self, upload_id: str) -> None:
        """Delete the record, and the bytes where nothing else has the same.

        Raises:
            NotFound: There is none with this id.
            InUse: A job that has not ended uses it.
        """
        _require_upload(upload_id)
        self._holds.remove(self._scripts.run("delete", id=upload_id)["orphans"])

    def data_path(self, upload_id: str) -> Path:
        """The file that a job reads: what was uploaded, or what the inspection made of it.

        Raises:
            NotFound: There is none with this id.
        """
        row = self._row(upload_id)
        return self._blobs.path(row.get("data_sha256", row["sha256"]))

    def _row(self, upload_id: str) -> Row:
        _require_upload(upload_id)
        row: Row = self._scripts.run("read", id=upload_id)["row"]
        return row

    def _forget(self, upload_id: str) -> None:
        try:
            self._holds.drop(upload_id)
        except SecateurError:
            return  # Redis is away: the reaper drops the hold when it is back


def _require_upload(upload_id: str) -> None:
    if not upload_id.startswith(("mdl_", "dst_")):
        raise NotFound(f"There is no model and no data set with the id {upload_id}.", id=upload_id)
