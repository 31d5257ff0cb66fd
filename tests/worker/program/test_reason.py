"""What is told of an error of somebody else's code."""

from __future__ import annotations

import pytest

from worker.program.reason import LONGEST, reason


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a shape\nand a trace of it"), "a shape"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("x" * 1000), "x" * LONGEST),
    ],
)
def test_the_first_line_is_told_or_the_class_where_there_is_none(error: Exception, told: str) -> None:
    assert reason(error) == told


def test_less_is_told_where_less_is_asked_for() -> None:
    assert reason(RuntimeError("abcdef"), 3) == "abc"
