"""What a child said, as JSON that the record can keep: bounded, and certain to be read again.

A child works on strangers' files. What it says may be anything that a line of JSON can hold; nothing of it may fill
Redis or make a record unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from secateur.errors import SecateurError
from secateur.resources import ErrorRecord

KEPT_BYTES = 16 << 10
SENTENCE_CHARACTERS = 800  # four bytes each at most, six where JSON escapes them: three such texts fit into KEPT_BYTES
CODE_CHARACTERS = 64


def event_data(data: Mapping[str, Any]) -> str:
    """The data of one event; in place of what is too long or cannot be read again, a note that says so."""
    text = _json(data)
    if text is None:
        return as_json({"message": "This event could not be kept: it is not JSON that can be read again."})
    if _bytes(text) > KEPT_BYTES:
        return as_json({"message": f"This event was {_bytes(text)} bytes long; at most {KEPT_BYTES} are kept."})
    return text


def failure(error: SecateurError | Mapping[str, Any]) -> str:
    """Why something failed: code, message, remedy, and whatever else fits; `internal` where this is no error at all."""
    given = error.to_dict() if isinstance(error, SecateurError) else dict(error)
    try:
        known = ErrorRecord.model_validate(given)
    except ValidationError:
        return _nonsense()
    if not _is_code(known.code):
        return _nonsense()
    text = _json(known.model_dump(exclude_unset=True))
    if text is None or _bytes(text) > KEPT_BYTES:
        text = _json({"code": known.code, **_sentences(message=known.message, remedy=known.remedy)})
    return text or _nonsense()


def sentence(text: str) -> str:
    """A text, cut where it is too long."""
    return text if len(text) <= SENTENCE_CHARACTERS else f"{text[:SENTENCE_CHARACTERS]} ..."


def as_json(value: Any) -> str:
    """JSON that every reader takes: what is not a finite number is null."""
    return to_json(value, inf_nan_mode="null").decode()


def _json(value: Any) -> str | None:
    """JSON that can be read again, or None."""
    try:
        text = as_json(value)
        json.loads(text)
    except (ValueError, RecursionError):  # nested too deep, half a character, or a number of thousands of digits
        return None
    return text


def _sentences(**texts: str | None) -> dict[str, str]:
    return {name: sentence(text) for name, text in texts.items() if text is not None}


def _is_code(code: str) -> bool:
    return len(code) <= CODE_CHARACTERS and code.isascii() and code.replace("_", "").isalnum()


def _nonsense() -> str:
    return as_json(
        SecateurError("The process gave a reason that cannot be understood; see the worker's log.").to_dict()
    )


def _bytes(text: str) -> int:
    return len(text.encode())
