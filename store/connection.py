"""The one door to Redis: whatever is wrong with it becomes `Unavailable` here and nowhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Self, cast

import redis
import structlog
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from secateur.errors import Unavailable
from store.settings import StoreSettings

log = structlog.get_logger()

CONNECT_S = 0.5
ANSWER_S = 2.5  # `appendfsync always` on a slow disk answers within it; a request that finds Redis gone ends soon after

# Answers of a server that is there and cannot serve: loading, out of memory, its disk full, a replica, a long script.
# Redis 6.2 puts the answer to a command inside a script behind words of its own and a minus sign.
NOT_SERVING = re.compile(r"(?:^|: -)(?:LOADING|OOM|MISCONF|READONLY|BUSY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b")


class Connection(redis.Redis):
    """A client whose failures are `Unavailable`.

    Only a refused or broken connection is tried again, once: a command that timed out may have been carried out.
    """

    @classmethod
    def open(cls, settings: StoreSettings, *, answer_s: float = ANSWER_S) -> Self:
        """A client with a pool of its own; `answer_s` must exceed what a blocking command waits."""
        retry = Retry(ExponentialBackoff(cap=0.2, base=0.05), retries=1, supported_errors=(redis.ConnectionError,))
        client = cls.from_url(
            settings.redis_location,
            decode_responses=True,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=answer_s,
            retry=retry,
        )
        return cast(Self, client)

    def now(self) -> datetime:
        """The time on Redis' clock, the only one that counts."""
        seconds, microseconds = self.time()
        return datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and wait for its answer.

        Raises:
            Unavailable: There is no answer, or the answer is that the server cannot serve now.
        """
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise _unavailable(error) from error
        except redis.ResponseError as error:
            if NOT_SERVING.search(str(error)) or isinstance(error, redis.exceptions.OutOfMemoryError):
                raise _unavailable(error) from error
            raise


def _unavailable(error: redis.RedisError) -> Unavailable:
    """The reason is for the log: it names hosts, which is nothing for users."""
    log.warning("redis_unavailable", reason=str(error))
    return Unavailable()
