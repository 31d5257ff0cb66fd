"""Rows that were filled so far, in a file of JSON lines: a later one replaces an earlier one of the same name."""

from __future__ import annotations

from pathlib import Path

from benchmarks.zoo.row import Row, read_row


class Results:
    """The rows in a file, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = {row.name: row for row in map(read_row, lines)}

    def add(self, row: Row) -> None:
        """Appends a row at once: nothing is lost when the run is stopped."""
        self.rows[row.name] = row
        with self.path.open("a") as file:
            file.write(row.written() + "\n")
