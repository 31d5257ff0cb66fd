"""The folders that attempts and inspections work in, and what is to go when those who worked there died."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from secateur.errors import NotFound
from secateur.states import TRANSITIONS, is_terminal
from store.connection import Connection
from store.records import Row, checkpoint_path, from_ms
from store.scripts import Scripts
from store.settings import StoreSettings

SETTLING_S = 60.0


class Folders:
    """`jobs/ID/attempts/FENCE` and `inspections/FENCE` in the data folder."""

    def __init__(self, connection: Connection, scripts: Scripts, settings: StoreSettings) -> None:
        self._connection = connection
        self._scripts = scripts
        self._root = settings.data_dir

    def sweep(self, stale_s: float) -> None:
        """Remove what no process can be writing or reading any more; what nobody owns, when it is so old.

        Only for a data folder that belongs to this record: see `store.epoch`.

        Raises:
            Unavailable: Redis did not answer.
        """
        for folder in sorted((self._root / "inspections").glob("*")):
            if _untouched(folder, stale_s):
                shutil.rmtree(folder, ignore_errors=True)
        now = self._connection.now()
        for folder in sorted((self._root / "jobs").glob("job_*")):
            row = self._row(folder.name)
            if _over(row, now) if row else _untouched(folder, stale_s):
                shutil.rmtree(folder, ignore_errors=True)
            elif row:
                self._sweep_attempts(folder / "attempts", row)

    def _row(self, job_id: str) -> Row | None:
        try:
            row: Row = self._scripts.run("read", id=job_id)["row"]
        except NotFound:
            return None
        return row

    def _sweep_attempts(self, attempts: Path, row: Row) -> None:
        """Of attempts before the last one only the checkpoint is needed that the record points at."""
        kept = self._root / (checkpoint_path(row) or "none")
        for folder in attempts.glob("[0-9]*"):
            if (
                folder.name.isdecimal()
                and int(folder.name) < int(row.get("fence", 0))
                and _untouched(folder, SETTLING_S)
            ):
                _remove_but(folder, kept)


def _over(row: Row, now: datetime) -> bool:
    """Whether the job ended so long ago that no process of it can still be writing."""
    if row.get("state") not in TRANSITIONS or not is_terminal(row["state"]) or "finished_ms" not in row:
        return False
    return (now - from_ms(row["finished_ms"])).total_seconds() > SETTLING_S


def _remove_but(folder: Path, kept: Path) -> None:
    if folder not in kept.parents:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in _files(folder):
        if path != kept:
            path.unlink(missing_ok=True)


def _untouched(folder: Path, for_s: float) -> bool:
    """Whether nothing in a folder was written or made for so long."""
    newest = 0.0
    for path in (folder, *_files(folder)):
        try:
            newest = max(newest, path.lstat().st_mtime)
        except FileNotFoundError:
            return False  # somebody is at it
    return newest < time.time() - for_s


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
