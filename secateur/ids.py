"""Identifiers: a prefix that names the noun, then a ULID, so that ids sort by the time of their making."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Literal

from pydantic import Field

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PATTERN = "[0-9A-HJKMNP-TV-Z]{26}"

Noun = Literal["mdl", "dst", "job", "wrk"]
ModelId = Annotated[str, Field(pattern=f"^mdl_{PATTERN}$", examples=["mdl_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"])]
DatasetId = Annotated[str, Field(pattern=f"^dst_{PATTERN}$", examples=["dst_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"])]
JobId = Annotated[str, Field(pattern=f"^job_{PATTERN}$", examples=["job_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"])]


def new_id(noun: Noun) -> str:
    """A new id: 48 bits of milliseconds, 80 bits of chance, in Crockford's base 32 (the ULID layout)."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{noun}_" + "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
