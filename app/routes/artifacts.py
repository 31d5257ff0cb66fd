"""Artifacts: the files that a job handed over."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.dependencies import JobPath, StoreDep
from app.downloads import MEDIA_TYPE, send_file
from app.examples import ARTIFACT, answers, page
from secateur.errors import NotFound
from secateur.resources import Artifact, Page

router = APIRouter(prefix="/jobs/{id}/artifacts", tags=["jobs"])

_BYTES: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; ETag and Repr-Digest are its SHA-256.", "content": _BYTES},
    206: {"description": "The part that `Range` asks for.", "content": _BYTES},
    304: {"description": "The file is the one that `If-None-Match` names."},
}


@router.get("", operation_id="list_artifacts", responses=answers(200, "Empty before the end.", page(ARTIFACT)))
def list_artifacts(id: JobPath, store: StoreDep) -> Page[Artifact]:
    """The files that a job handed over, with sizes and digests."""
    return Page(data=store.jobs.get(id).artifacts)


@router.head("/{name}", operation_id="head_artifact", response_class=Response, responses=FILE)
@router.get("/{name}", operation_id="get_artifact", response_class=Response, responses=FILE)
def get_artifact(id: JobPath, name: str, request: Request, store: StoreDep) -> Response:
    """Download one file; `Range` and `If-None-Match` are understood."""
    artifact = store.jobs.artifact(id, name)
    path = store.blobs.path(artifact.sha256)
    if not path.is_file():
        raise NotFound(f"the bytes of the artifact {name!r} are no longer on the disk")
    return send_file(path, artifact, request.method, request.headers)
