from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import Diverged, InvalidSpec
from secateur.resources import ErrorRecord
from store.hearsay import KEPT_BYTES, event_data, failure, sentence

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def nested(depth: int) -> dict[str, Any]:
    return {"in": nested(depth - 1)} if depth else {}


HOSTILE: list[dict[str, Any]] = [
    nested(400),
    {"n": 10**5000},
    {"text": "\ud800"},
    {"text": "x" * KEPT_BYTES},
    {"text": "\x00" * (KEPT_BYTES // 5)},
    {"text": "\N{GRINNING FACE}" * (KEPT_BYTES // 4)},
]


@given(data=st.dictionaries(st.text(), values, max_size=4))
def test_what_is_short_and_sound_is_kept(data: dict[str, Any]) -> None:
    text = event_data({"extra": data})
    assert set(json.loads(text)["extra"]) == set(data)
    error = json.loads(failure({"code": "diverged", "message": "m", "extra": data}))
    assert (error["code"], error["message"], set(error["extra"])) == ("diverged", "m", set(data))


@pytest.mark.parametrize("data", HOSTILE)
def test_what_is_too_long_or_unsound_is_replaced(data: dict[str, Any]) -> None:
    assert set(json.loads(event_data(data))) == {"message"}
    kept = failure({"code": "diverged", "message": "why", "remedy": "r", **data})
    assert json.loads(kept) == {"code": "diverged", "message": "why", "remedy": "r"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"code": "diverged"},
        {"code": 7, "message": "m"},
        {"code": "", "message": "m"},
        {"code": "Not a code!", "message": "m"},
        {"code": "x" * 100, "message": "m"},
        {"code": "diverged", "message": ["m"]},
        {"code": "diverged", "message": "m", "remedy": 1},
        {"code": "diverged", "message": "\ud800"},
    ],
)
def test_what_is_no_error_is_internal(given: dict[str, Any]) -> None:
    assert json.loads(failure(given))["code"] == "internal"


@pytest.mark.parametrize("character", ["x", "\x00", "\N{GRINNING FACE}"])
def test_long_reasons_are_cut(character: str) -> None:
    text = failure({"code": "diverged", "message": character * 10**6, "remedy": character * 10**6})
    assert len(text.encode()) <= KEPT_BYTES
    record = ErrorRecord.model_validate(json.loads(text))
    assert record.message == sentence(character * 10**6)


def test_our_own_errors_are_kept_whole() -> None:
    errors = [{"code": "data_mismatch", "pointer": "/data", "message": "m"}] * 20
    for error in (Diverged(), InvalidSpec("m", remedy="r", errors=errors)):
        assert json.loads(failure(error)) == error.to_dict()
