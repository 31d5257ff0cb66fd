"""Rows of Redis (all strings) as the resources that the API shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from secateur.errors import SecateurError
from secateur.resources import Dataset, Job, Model, Page

SCHEMA_VERSION = "1"
Row = Mapping[str, str]
Item = TypeVar("Item")
Resource = TypeVar("Resource", bound=BaseModel)


def to_job(row: Row) -> Job:
    """A job as it stands."""
    _check(row)
    return _validated(
        Job,
        {
            **_plain(row, "id", "state", "stage", "round", "progress", "queue_position", "waiting_for", "worker"),
            **_times(row, created="created_ms", started="started_ms", finished="finished_ms"),
            "rounds": row["rounds"],
            "attempts": row["attempts"],
            "cancel_requested": row.get("cancel_requested") == "1",
            "last_heartbeat_at": _time(row.get("heartbeat_ms")),
            **_parsed(row, "error", "artifacts", "spec"),
        },
    )


def to_upload(row: Row) -> Model | Dataset:
    """A model or a data set as it stands."""
    _check(row)
    fields = {
        **_plain(row, "id", "name", "state", "size_bytes", "sha256"),
        **_times(row, created="created_ms"),
        **_parsed(row, "error", "inspection"),
    }
    return _validated(Model, fields) if row["id"].startswith("mdl_") else _validated(Dataset, fields)


def to_page(rows: Sequence[Row], limit: int, convert: Callable[[Row], Item]) -> Page[Item]:
    """A page of `limit` from up to one more row than that."""
    items = tuple(convert(row) for row in rows[:limit])
    return Page(data=items, next=rows[limit - 1]["id"] if len(rows) > limit else None)


def from_ms(milliseconds: str | int) -> datetime:
    """A moment of Redis' clock."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _check(row: Row) -> None:
    if row.get("schema_version") != SCHEMA_VERSION:
        raise _foreign(row["id"], f"schema {row.get('schema_version')}, expected {SCHEMA_VERSION}")


def _validated(kind: type[Resource], fields: dict[str, Any]) -> Resource:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        at = error.errors()[0]
        raise _foreign(fields["id"], f"{'.'.join(map(str, at['loc']))}: {at['msg']}") from error


def _foreign(record_id: str, found: str) -> SecateurError:
    return SecateurError(
        f"The record {record_id} was written by another version of Secateur ({found}).",
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
