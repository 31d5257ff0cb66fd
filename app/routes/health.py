"""Health: whether the process lives, and whether it can take work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.dependencies import StoreDep
from secateur.errors import NotReady, SecateurError
from store.store import Store

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What was tried, all of it with success."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]


@router.get("/healthz", operation_id="get_health")
async def get_health() -> Health:
    """Alive: always 200, and asks nobody."""
    return Health()


@router.get("/readyz", operation_id="get_readiness")
def get_readiness(store: StoreDep) -> Readiness:
    """Ready: Redis takes writes, the data folder too, and a worker is alive; else 503 with what failed."""
    checks = {name: outcome(check, store) for name, check in CHECKS.items()}
    failed = {name: found for name, found in checks.items() if found != "ok"}
    if failed:
        raise NotReady("; ".join(f"{name}: {found}" for name, found in failed.items()), checks=checks)
    return Readiness(checks=checks)


def outcome(check: Callable[[Store], None], store: Store) -> str:
    """`ok`, or what went wrong."""
    try:
        check(store)
    except SecateurError as error:
        return error.message
    except OSError as error:
        return error.strerror or type(error).__name__
    return "ok"


def _disk(store: Store) -> None:
    with tempfile.TemporaryFile(dir=store.settings.data_dir) as file:
        file.write(b"ready")


def _worker(store: Store) -> None:
    if not store.workers.list():
        raise NotReady("no worker is alive; start one with `secateur worker`")


CHECKS: dict[str, Callable[[Store], None]] = {"redis": Store.ping, "disk": _disk, "worker": _worker}
