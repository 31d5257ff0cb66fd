"""Lists come in pages: `limit` says how much, `after` names the last thing that was seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
After = Annotated[
    str | None,
    Query(pattern=r"^[!-~]{1,128}$", description="The `next` of the page before: what comes behind it."),
]
