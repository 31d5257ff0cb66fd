"""The API key: asked for before a single byte of the body is read."""

from __future__ import annotations

import hmac

from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import answer
from secateur.errors import Unauthorized

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})

# Tells OpenAPI about the key; Bearer does the checking.
SCHEME = HTTPBearer(auto_error=False, description="The server's API key; not asked for where none is set.")


class Bearer:
    """Lets a request pass that carries the key, or asks for a page that is open to all."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN or self.admits(Request(scope)):
            await self.app(scope, receive, send)
        else:
            await answer(Unauthorized(), Request(scope))(scope, receive, send)

    def admits(self, request: Request) -> bool:
        """Whether the request carries the key. Takes the same time for every wrong key of one length."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self.key)
