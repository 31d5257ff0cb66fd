"""Where a problem is in a spec that somebody wrote, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def location(found: Sequence[str | int], value: Any) -> list[str | int]:
    """pydantic's location of a problem in `value` without the names of union members and of keys."""
    path: list[str | int] = []
    for part in found:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif not isinstance(value, dict) or part in _marks(value):
            continue
        else:
            value = None
        path.append(part)
    return path


def said(message: str) -> str:
    """pydantic's message of a problem without the words that it puts before ours."""
    return message.removeprefix("Value error, ")


def _marks(value: dict[str, Any]) -> tuple[Any, ...]:
    """What pydantic puts into a location besides names: the mark of a key, and which member of a union was meant."""
    return "[key]", value.get("kind"), value.get("granularity", "weight")
