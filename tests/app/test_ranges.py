from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ranges import byte_range
from secateur.errors import RangeNotSatisfiable

DATA = bytes(range(100))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", DATA[:10]),
        ("bytes=90-", DATA[90:]),
        ("bytes=-5", DATA[-5:]),
        ("bytes=-500", DATA),
        ("bytes=95-1000", DATA[95:]),
        ("Bytes=0-0", DATA[:1]),
    ],
)
def test_ranges(header: str, expected: bytes) -> None:
    part = byte_range(header, len(DATA))
    assert part is not None
    assert DATA[part.start : part.stop] == expected


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=0-1,5-6", "items=0-1", "bytes=a-b", "bytes=٣-٤"],
)
def test_what_is_ignored(header: str | None) -> None:
    assert byte_range(header, len(DATA)) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=5000-6000", "bytes=-0"])
def test_behind_the_end(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range(header, len(DATA))


@given(header=st.text(alphabet="bytes=-,0123456789 ", max_size=30).map("bytes=".__add__), size=st.integers(1, 1000))
def test_a_part_lies_within_the_file(header: str, size: int) -> None:
    try:
        part = byte_range(header, size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.stop <= size
