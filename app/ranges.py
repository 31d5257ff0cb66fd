"""Byte ranges of a download (RFC 9110, 14)."""

from __future__ import annotations

import re

from secateur.errors import RangeNotSatisfiable

SINGLE = re.compile(r"bytes=[ \t]*(\d{1,19})?-(\d{1,19})?[ \t]*", re.IGNORECASE | re.ASCII)


def byte_range(header: str | None, size_bytes: int) -> range | None:
    """The bytes that a Range header asks for; None means all of them.

    A header that cannot be understood, and one that asks for several ranges, may be ignored, and is.

    Raises:
        RangeNotSatisfiable: The range begins behind the end.
    """
    match = SINGLE.fullmatch(header) if header is not None else None
    if match is None or match[1] == match[2] is None:
        return None
    if match[1] is None:
        start, stop = size_bytes - min(int(match[2]), size_bytes), size_bytes
    else:
        start, stop = int(match[1]), size_bytes if match[2] is None else int(match[2]) + 1
    if match[2] is not None and stop <= start < size_bytes:
        return None
    if start >= size_bytes:
        raise RangeNotSatisfiable(
            f"the file has {size_bytes} bytes; the range begins at {start}", size_bytes=size_bytes
        )
    return range(start, min(stop, size_bytes))
