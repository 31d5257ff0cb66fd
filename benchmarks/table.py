"""Tables of measurements: printed, and kept as Markdown with the machine that they come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from worker.machine import processor


def machine() -> str:
    """The processor, the cores, the threads and the version of torch; no names of hosts."""
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    return f"Machine: {processor()}, {cores} cores, {threads} threads used, torch {torch.__version__}."


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The table as lines of Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def write(path: Path, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print the table and write it to `path`."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)
    path.write_text("\n".join([f"# {title}", "", *lines(columns, rows), "", *(f"* {note}" for note in notes), ""]))
