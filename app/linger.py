"""Answers to requests whose body nobody wants: said at once, without losing the answer to a connection reset."""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 2.0
LINGER_BYTES = 64 << 20


class Linger:
    """Closes the connection after an answer that came before the end of the request's body, but not at once.

    Closing with unread bytes in the socket makes the kernel send a reset, which can throw the answer away before the
    client has read it. So the answer goes out whole, then the rest of the body is read and forgotten for a moment.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] == "http" and has_body(Headers(scope=scope)):
            exchange = Exchange(scope, receive, send)
            await self.app(scope, exchange.receive, exchange.send)
        else:
            await self.app(scope, receive, send)


class Exchange:
    """One request with a body and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.body_ended = False
        self.asked = Headers(scope=scope).get("expect", "").lower() != "100-continue"

    async def receive(self) -> Message:
        """The next piece of the request's body."""
        self.asked = True
        message = await self._receive()
        self.body_ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A piece of the answer."""
        if self.body_ended:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False) or not self.asked:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drain()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        left = LINGER_BYTES
        with anyio.move_on_after(LINGER_S):
            while not self.body_ended and left > 0:
                left -= len((await self.receive()).get("body", b""))


def has_body(headers: Headers) -> bool:
    """Whether a request announces a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
