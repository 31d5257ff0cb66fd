"""Who needs which blob: the sets in Redis decide, the files follow."""

from __future__ import annotations

from collections.abc import Iterable

from secateur.errors import Unavailable
from store.blobs import Blobs
from store.connection import Connection
from store.scripts import Scripts
from store.settings import StoreSettings


class Holds:
    """The holds that records have on blobs.

    A new record holds its blob first and looks for the file then; who drops the last hold hides the file first and
    looks for holds then. So whichever comes first, no record ever points at a file that is gone.
    """

    def __init__(self, connection: Connection, scripts: Scripts, settings: StoreSettings, blobs: Blobs) -> None:
        self._connection = connection
        self._scripts = scripts
        self._prefix = f"{settings.namespace}:blob:"
        self._blobs = blobs

    def hold(self, record_id: str, sha256: str) -> None:
        """Hold a blob for a record that is about to be made.

        Raises:
            Unavailable: The blob was removed in this very moment, together with the last record that held it.
        """
        self._scripts.run("hold", id=record_id, digests=[sha256])
        self.require([sha256])

    def require(self, digests: Iterable[str]) -> None:
        """Raise Unavailable unless the files of all these held blobs are there."""
        for sha256 in digests:
            if not self._blobs.exists(sha256):
                raise Unavailable("The bytes were removed while they were stored. Send them again.", sha256=sha256)

    def drop(self, record_id: str) -> None:
        """Give up what was held for a record that was not made."""
        self.remove(self._scripts.run("drop", id=record_id)["orphans"])

    def remove(self, orphans: Iterable[str]) -> None:
        """Remove the files of blobs that no record held any more a moment ago, and still none does."""
        for sha256 in orphans:
            hidden = self._blobs.hide(sha256)
            if hidden is None:
                continue
            if self._connection.exists(self._prefix + sha256):
                self._blobs.show(sha256, hidden)
            else:
                hidden.unlink(missing_ok=True)

    def drop_unheld(self, older_s: float) -> None:
        """Remove blobs that no record holds: whoever stored them died, or lost Redis, before the record was made."""
        self.remove(
            sha256 for sha256 in self._blobs.left(older_s) if not self._connection.exists(self._prefix + sha256)
        )

    def drop_forgotten(self, older_s: float) -> None:
        """Drop holds whose maker died before it made the record."""
        for record_id in self._scripts.run("forgotten", older_ms=round(older_s * 1000))["ids"]:
            self.drop(record_id)
