"""Rows of Redis (all strings) as the resources that the API shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from secateur.errors import SecateurError
from secateur.resources import Dataset, Job, Model, Page

log = structlog.get_logger()

SCHEMA_VERSION = "1"
Row = Mapping[str, str]
Item = TypeVar("Item")
Resource = TypeVar("Resource", bound=BaseModel)


class Unreadable(SecateurError):
    """A record was written by another version of Secateur, or is damaged."""


def to_job(row: Row) -> Job:
    """A job as it stands.

    Raises:
        Unreadable: This is no job that this version knows.
    """
    return _read(Job, row, _job)


def to_upload(row: Row) -> Model | Dataset:
    """A model or a data set as it stands.

    Raises:
        Unreadable: This is neither, as far as this version knows.
    """
    return _read(Model, row, _upload) if row["id"].startswith("mdl_") else _read(Dataset, row, _upload)


def to_page(rows: Sequence[Row], limit: int, convert: Callable[[Row], Item]) -> Page[Item]:
    """A page of `limit` from up to one more row than that; a record that cannot be read is left out, and logged."""
    items = tuple(_readable(rows[:limit], convert))
    return Page(data=items, next=rows[limit - 1]["id"] if len(rows) > limit else None)


def _readable(rows: Sequence[Row], convert: Callable[[Row], Item]) -> Iterator[Item]:
    for row in rows:
        try:
            yield convert(row)
        except Unreadable as error:
            log.error("record_unreadable", id=row["id"], reason=error.message)


def _job(row: Row) -> dict[str, Any]:
    return {
        **_plain(row, "id", "state", "stage", "round", "progress", "queue_position", "waiting_for", "worker"),
        **_times(row, created="created_ms", started="started_ms", finished="finished_ms"),
        "rounds": row["rounds"],
        "attempts": row["attempts"],
        "cancel_requested": row.get("cancel_requested") == "1",
        "last_heartbeat_at": _time(row.get("heartbeat_ms")),
        **_parsed(row, "error", "artifacts", "spec"),
    }


def _upload(row: Row) -> dict[str, Any]:
    return {
        **_plain(row, "id", "name", "state", "size_bytes", "sha256"),
        **_times(row, created="created_ms"),
        **_parsed(row, "error", "inspection"),
    }


def checkpoint_path(row: Row) -> str | None:
    """Where the checkpoint lies that a job would go on from, relative to the data folder."""
    return json.loads(row["checkpoint"])["path"] if "checkpoint" in row else None


def from_ms(milliseconds: str | int) -> datetime:
    """A moment of Redis' clock."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _read(kind: type[Resource], row: Row, fields: Callable[[Row], dict[str, Any]]) -> Resource:
    if row.get("schema_version") != SCHEMA_VERSION:
        raise _unreadable(row["id"], f"schema {row.get('schema_version')}, expected {SCHEMA_VERSION}")
    try:
        return kind.model_validate(fields(row))
    except ValidationError as error:
        at = error.errors()[0]
        raise _unreadable(row["id"], f"{'.'.join(map(str, at['loc']))}: {at['msg']}") from error
    except (ArithmeticError, LookupError, OSError, ValueError, RecursionError) as error:
        raise _unreadable(row["id"], f"{type(error).__name__}: {error}") from error


def _unreadable(record_id: str, found: str) -> Unreadable:
    return Unreadable(
        f"The record {record_id} was written by another version of Secateur, or is damaged ({found}).",
        remedy="Run the version that wrote it, or start with an empty Redis.",
    )


def _plain(row: Row, *names: str) -> dict[str, str]:
    return {name: row[name] for name in names if name in row}


def _parsed(row: Row, *names: str) -> dict[str, Any]:
    return {name: json.loads(row[name]) for name in names if name in row}


def _times(row: Row, **fields: str) -> dict[str, datetime | None]:
    return {f"{name}_at": _time(row.get(field)) for name, field in fields.items()}


def _time(milliseconds: str | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
