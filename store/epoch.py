"""Whether the files in the data folder belong to the record in Redis: only then may the record say what is rubbish."""

from __future__ import annotations

import secrets
from pathlib import Path

from store.connection import Connection
from store.settings import StoreSettings


class Epoch:
    """A name that is written both into Redis and beside the files, when both are first used together."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._key = f"{settings.namespace}:epoch"
        self._file: Path = settings.data_dir / "epoch"

    def agrees(self) -> bool:
        """False when Redis lost its data, or when another Redis or namespace used this folder first.

        Raises:
            Unavailable: Redis did not answer.
        """
        if not self._file.exists():
            self._connection.set(self._key, secrets.token_hex(16), nx=True)
            self._file.write_text(str(self._connection.get(self._key)))
        return self._connection.get(self._key) == self._file.read_text()
