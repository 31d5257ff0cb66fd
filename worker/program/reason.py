"""What an error of somebody else's code says, short enough to be told to a user."""

from __future__ import annotations

LONGEST = 300


def reason(error: Exception, longest: int = LONGEST) -> str:
    """The first line of it, of at most so many characters; the name of its class where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:longest]
