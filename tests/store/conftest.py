"""What the tests of the record need beside the record itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from secateur.redis_server import RedisServer
from store.settings import StoreSettings


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Redis itself, to look and to tamper."""
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    yield client
    client.close()


@pytest.fixture
def expire(raw: redis.Redis, store_settings: StoreSettings) -> Callable[[str], None]:
    """Let a lease run out now."""
    return lambda job_id: raw.zadd(f"{store_settings.namespace}:leases", {job_id: 0}, xx=True)
