"""What every command that speaks to a server shares: where it is, how errors are told, and how a command ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from secateur.client import Client
    from secateur.errors import SecateurError

INTERRUPTED = 130

Url = Annotated[str, typer.Option("--url", envvar="SECATEUR_URL", help="The server.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="SECATEUR_API_KEY", help="Its key.", show_envvar=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on the standard output.")]

LOCAL = "http://127.0.0.1:8000"


@contextmanager
def connected(url: str, api_key: str | None) -> Iterator[Client]:
    """A client. An error inside ends the command with exit code 1 and is told on the error output."""
    from secateur.client import Client
    from secateur.errors import SecateurError

    try:
        with Client(url, api_key) as client:
            yield client
    except SecateurError as error:
        tell(error)
        raise typer.Exit(1) from None


def tell(error: SecateurError) -> None:
    """An error on the error output: its code and message, every single problem once, and the way out."""
    lines = [f"{error.code}: {error.message}"]
    for problem in error.context.get("errors") or ():
        pointer, message = str(problem.get("pointer", "")), str(problem.get("message", ""))
        if message not in error.message:
            lines.append(f"  at {pointer}: {message}")
        elif pointer not in error.message:
            lines.append(f"  at {pointer}")
    if error.remedy:
        lines.append(error.remedy)
    for line in lines:
        typer.echo(printable(line), err=True)


def printable(line: str) -> str:
    """A line that may hold what a stranger wrote, without control characters (line breaks excepted)."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in line)


def write_json(value: BaseModel | Any) -> None:
    """One JSON document (one line) on the standard output."""
    dump = getattr(value, "model_dump_json", None)
    sys.stdout.write((dump() if dump is not None else json.dumps(value)) + "\n")
    sys.stdout.flush()


@contextmanager
def going_on_without_us(job_id: str) -> Iterator[None]:
    """Ctrl-C stops watching, not the job, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        lines = (
            f"{job_id} goes on.",
            f"Look again: secateur watch {job_id}",
            f"Stop it:    secateur cancel {job_id}",
        )
        typer.echo("\n" + "\n".join(lines), err=True)
        raise typer.Exit(INTERRUPTED) from None
