"""The Lua scripts: each is one step of the record, whole or not at all, with the event that tells of it.

A script gets the namespace and one JSON object, and answers with one JSON object. Every script begins with the same
prelude, which alone changes states, by the table of `secateur.states`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from secateur.errors import FenceLost, IdempotencyMismatch, InUse, NotFound, SecateurError, WrongState
from secateur.states import TRANSITIONS
from store.connection import Connection
from store.settings import StoreSettings

PRELUDE = "prelude"
REFUSALS: dict[str, type[SecateurError]] = {
    error.code: error for error in (NotFound, WrongState, InUse, FenceLost, IdempotencyMismatch)
}


class Scripts:
    """All scripts of one namespace, ready to run."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._namespace = settings.namespace
        sources = {
            file.name.removesuffix(".lua"): file.read_text() for file in files("store").joinpath("lua").iterdir()
        }
        prelude = _config(settings) + sources.pop(PRELUDE)
        self._scripts: dict[str, Callable[..., Any]] = {
            name: connection.register_script(prelude + source) for name, source in sources.items()
        }

    def run(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a script; arguments that are None are left out.

        Raises:
            SecateurError: The script refused: the leaf says why, and nothing was changed.
            Unavailable: Redis did not answer.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        reply: dict[str, Any] = json.loads(self._scripts[name](args=[self._namespace, json.dumps(given)]))
        if "refused" in reply:
            raise REFUSALS[reply["refused"]](reply.get("message"), **reply.get("context", {}))
        return reply


def _config(settings: StoreSettings) -> str:
    """What the prelude needs to know, as one line of Lua."""
    config: Mapping[str, Any] = {
        "transitions": {state: dict.fromkeys(sorted(after), True) for state, after in TRANSITIONS.items()},
        "lease_ms": round(settings.lease_s * 1000),
        "max_attempts": settings.max_attempts,
        "wake_after_ms": round(settings.wake_after_s * 1000),
        "idempotency_ms": round(settings.idempotency_s * 1000),
        "events_kept": settings.events_kept,
    }
    return f"local CONFIG = cjson.decode([==[{json.dumps(config)}]==])\n"
