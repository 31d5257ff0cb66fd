"""HTTP as the client speaks it: the key, patience with a server that is away for a moment, and errors with a code."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from secateur.errors import SecateurError

ATTEMPTS = 5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
AWAY = frozenset({429, 502, 503, 504})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SAFE = frozenset({"GET", "HEAD", "DELETE"})

Send = Callable[[], httpx.Response]


class ApiError(SecateurError):
    """The server refused a request, could not be reached, or tells of a job that failed.

    `status` is the HTTP status, or None where there was no answer; `errors` lists the problems of a refused spec.
    """

    def __init__(
        self, code: str, message: str, *, remedy: str | None = None, status: int | None = None, **context: Any
    ) -> None:
        super().__init__(message, remedy=remedy, **context)
        self.code = code  # type: ignore[misc]  # the other side says which code it is
        self.status = status
        self.errors: list[dict[str, Any]] = context.get("errors") or []

    @classmethod
    def of(cls, response: httpx.Response) -> ApiError:
        """The problem document (RFC 9457) of a refusal; what is no such document is quoted in part."""
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "code" not in problem:
            text = f"the server answered {response.status_code}: {response.text[:200].strip() or 'nothing'}"
            return cls("unexpected_answer", text, status=response.status_code)
        message = str(problem.get("detail") or problem.get("message") or problem.get("title") or problem["code"])
        known = {"code", "detail", "message", "title", "type", "status", "remedy"}
        rest = {key: value for key, value in problem.items() if key not in known}
        remedy = problem.get("remedy")
        return cls(str(problem["code"]), message, remedy=remedy, status=response.status_code, **rest)


class Transport:
    """One server. Requests that may be sent twice without harm are sent again while the server is away."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float, attempts: int = ATTEMPTS) -> None:
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ApiError("bad_key", "the API key holds characters that no key has; is its file the right one?")
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.attempts = attempts
        address = parsed(self.url)
        # A proxy that the environment names cannot reach this machine's loopback.
        proxied = address.host not in LOOPBACK
        self.http = httpx.Client(base_url=address, headers=headers, timeout=timeout_s, trust_env=proxied)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterator[bytes]] | None = None,
    ) -> httpx.Response:
        """The answer, read whole. `body` is called anew for each attempt. Raises ApiError for everything but 2xx."""
        given = {key: value for key, value in (params or {}).items() if value is not None}

        def send() -> httpx.Response:
            content = None if body is None else body()
            return self.http.request(method, path, params=given, json=json, headers=headers, content=content)

        repeatable = method in SAFE or "Idempotency-Key" in (headers or {})
        response = self.patient(send) if repeatable else self.once(send)
        if not response.is_success:
            raise ApiError.of(response)
        return response

    def patient(self, send: Send) -> httpx.Response:
        """`send`, again after a pause while the server is away; the last answer, or the last error, counts."""
        for attempt in range(1, self.attempts):
            try:
                response = self.once(send)
            except ApiError:
                time.sleep(pause_s(attempt))
                continue
            if response.status_code not in AWAY:
                return response
            response.close()
            time.sleep(pause_s(attempt, response.headers.get("Retry-After")))
        return self.once(send)

    def once(self, send: Send) -> httpx.Response:
        """`send`, with what goes wrong on the wire told in words."""
        try:
            return send()
        except httpx.TimeoutException as error:
            raise self.unreachable(f"did not answer within {self.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise self.unreachable(f"cannot be reached: {error}") from error

    def unreachable(self, what: str) -> ApiError:
        """The server did not answer."""
        remedy = "Start it with `secateur up`, or name another with --url or SECATEUR_URL."
        return ApiError("unreachable", f"{self.url} {what}", remedy=remedy)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], read_timeout_s: float | None = None
    ) -> Iterator[httpx.Response]:
        """An answer whose body is still to be read. Raises ApiError for everything but 2xx."""
        timeout = httpx.Timeout(self.timeout_s, read=read_timeout_s or self.timeout_s)
        request = self.http.build_request("GET", path, headers=headers, timeout=timeout)
        response = self.patient(lambda: self.http.send(request, stream=True))
        try:
            if not response.is_success:
                response.read()
                raise ApiError.of(response)
            yield response
        finally:
            response.close()

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()


def parsed(url: str) -> httpx.URL:
    """The address of a server. Raises ApiError when it is none."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise ApiError("bad_url", f"{url!r} is no address of a server; one looks like http://127.0.0.1:8000")
    return address


def pause_s(attempt: int, retry_after: str | None = None) -> float:
    """How long to wait after the attempt'th failure: what the server asks for, else twice as long each time."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), LONGEST_PAUSE_S)
    grown: float = FIRST_PAUSE_S * 2 ** (attempt - 1)
    return min(grown, LONGEST_PAUSE_S) * random.uniform(0.75, 1.0)
