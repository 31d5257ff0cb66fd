"""How a request that is sent twice has one effect."""

from __future__ import annotations

from typing import NamedTuple


class IdempotencyKey(NamedTuple):
    """The client's key, and a fingerprint of everything that the request asks for, its kind included."""

    key: str
    fingerprint: str
