"""The HTTP door: one application, built from its settings. It never imports torch."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Security
from starlette.middleware import Middleware

from app import errors, openapi
from app.auth import SCHEME, Bearer
from app.headers import SecurityHeaders
from app.linger import Linger
from app.routes import artifacts, datasets, events, health, jobs, models, workers
from app.settings import Settings
from app.streams import POLLING_THREADS, Streams
from store.store import Store

NOUNS = (models, datasets, jobs, events, artifacts, workers)


def create_app(settings: Settings) -> FastAPI:
    """The application. Its lifespan opens the store and runs the reaper."""
    app = FastAPI(
        title="Secateur",
        version="1",
        summary="Prunes a trained network, retrains it, and gives back it with a report that proves what it says.",
        lifespan=_lifespan,
        middleware=_middleware(settings),
        docs_url="/docs",
        redoc_url=None,
        responses=openapi.DEFAULT_RESPONSE,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.state.settings = settings
    v1 = APIRouter(prefix="/v1", dependencies=[Security(SCHEME)])
    for noun in NOUNS:
        v1.include_router(noun.router)
    app.include_router(v1)
    app.include_router(health.router)
    errors.install(app)
    openapi.install(app)
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    key = settings.key()
    bearer = [] if key is None else [Middleware(Bearer, key=key)]
    return [Middleware(Linger), Middleware(SecurityHeaders), *bearer]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    store = Store.open(settings)
    closing = threading.Event()
    app.state.store = store
    app.state.streams = Streams(CapacityLimiter(POLLING_THREADS), closing)
    reaper = threading.Thread(target=store.reaper.run_forever, args=(closing, settings.reaper_every_s), daemon=True)
    reaper.start()
    try:
        yield
    finally:
        closing.set()
        await to_thread.run_sync(reaper.join, 5)
        store.close()
