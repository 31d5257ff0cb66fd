"""Workers: the processes that run jobs, and the devices that they serve."""

from __future__ import annotations

from fastapi import APIRouter

from app.dependencies import StoreDep
from app.examples import WORKER, answers, page
from secateur.resources import Page, Worker

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("", operation_id="list_workers", responses=answers(200, "Those that are alive.", page(WORKER)))
def list_workers(store: StoreDep) -> Page[Worker]:
    """The live workers, their devices, and what they are at."""
    return Page(data=store.workers.list())
