"""Events: what happened to a job, as a page or as a stream."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from app import streams
from app.dependencies import JobPath, StoreDep
from app.examples import EVENT, page
from app.pages import DEFAULT_LIMIT, Limit
from secateur.resources import Event, Page
from secateur.states import is_terminal

router = APIRouter(prefix="/jobs/{id}/events", tags=["jobs"])

PATTERN = r"^\d{1,19}-\d{1,19}$"
After = Annotated[str | None, Query(pattern=PATTERN, description="The last event that was seen.")]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=PATTERN,
        description="The same as `after`, and wins over it: what a browser's EventSource sends by itself.",
    ),
]

SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or with `Accept: text/event-stream` a stream that ends with the job.",
        "content": {
            "application/json": {"example": page(EVENT)},
            streams.MEDIA_TYPE: {"schema": {"type": "string"}},
        },
    }
}


@router.get("", response_model=Page[Event], operation_id="list_events", responses=SHOWN)
async def list_events(
    id: JobPath,
    request: Request,
    store: StoreDep,
    after: After = None,
    limit: Limit = DEFAULT_LIMIT,
    last_event_id: LastEventId = None,
) -> Response | Page[Event]:
    """The events of a job in order, from the first one or behind a given one."""
    job = await to_thread.run_sync(store.jobs.get, id)
    behind = last_event_id or after
    if not streams.wants_stream(request.headers.get("Accept", "")):
        return await to_thread.run_sync(store.events.page, id, behind, limit)
    frames = streams.follow(store, request.app.state.streams, id, behind, is_terminal(job.state))
    return StreamingResponse(frames, headers=streams.HEADERS, media_type=streams.MEDIA_TYPE)
