"""Uvicorn as the door runs it."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from app.settings import Settings

GRACE_S = 10
KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """One process, which tells open event streams to end before it waits for them."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self.app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, give the other requests GRACE_S, stop."""
        self.app.state.streams.closing.set()
        await super().shutdown(sockets)
