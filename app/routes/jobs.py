"""Jobs: what was asked for, how far it is, and what came of it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.dependencies import JobPath, StoreDep
from app.examples import INVALID, JOB, QUEUED_JOB, REPORT, STRUCTURED_VALIDATION, VALIDATION, answers, page
from app.idempotency import REPLAYED, KeyHeader, idempotency_key
from app.pages import DEFAULT_LIMIT, After, Limit
from app.specs import BODY, JsonBody, SpecBody, problems
from secateur.report import Report
from secateur.resources import Job, Page, Validation
from secateur.states import JobState

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    operation_id="create_job",
    openapi_extra=BODY,
    responses=answers(202, "Queued. Location names the job.", QUEUED_JOB),
)
def create_job(spec: SpecBody, request: Request, response: Response, store: StoreDep, key: KeyHeader = None) -> Job:
    """Queue a job. Its uploads may still be under inspection; the job then waits for that."""
    job, new = store.jobs.create(spec, idempotency_key(key, request, spec.model_dump_json()))
    response.headers["Location"] = f"{request.url.path}/{job.id}"
    response.headers.update({} if new else REPLAYED)
    return job


@router.post(
    "/validate",
    operation_id="validate_job",
    openapi_extra=BODY,
    responses={
        200: {
            "description": "Every problem, and a forecast where there is none.",
            "content": {
                "application/json": {
                    "examples": {
                        "valid": {"value": VALIDATION},
                        "structured": {"value": STRUCTURED_VALIDATION},
                        "invalid": {"value": INVALID},
                    }
                }
            },
        }
    },
)
def validate_job(body: JsonBody, store: StoreDep) -> Validation:
    """Judge a spec without queueing anything."""
    spec, found = problems(body)
    return store.jobs.validate(spec) if spec is not None else Validation(valid=False, problems=tuple(found))


@router.get("", operation_id="list_jobs", responses=answers(200, "The newest first.", page(JOB, QUEUED_JOB)))
def list_jobs(
    store: StoreDep, after: After = None, limit: Limit = DEFAULT_LIMIT, state: JobState | None = None
) -> Page[Job]:
    """All jobs, or those in one state, page by page."""
    return store.jobs.list(after, limit, state)


@router.get("/{id}", operation_id="get_job", responses=answers(200, "As it stands now.", JOB))
def get_job(id: JobPath, store: StoreDep) -> Job:
    """State, stage, round, progress, place in the queue, attempts, last heartbeat."""
    return store.jobs.get(id)


@router.post("/{id}/cancel", operation_id="cancel_job", responses=answers(200, "As it stands now.", JOB))
def cancel_job(id: JobPath, store: StoreDep) -> Job:
    """Stop a job. A queued one is cancelled at once, a running one within seconds; 409 where it has ended."""
    return store.jobs.cancel(id)


@router.get("/{id}/report", operation_id="get_report", responses=answers(200, "What the job did.", REPORT))
def get_report(id: JobPath, store: StoreDep) -> Report:
    """The report of a job that succeeded; 409 before that."""
    return store.jobs.report(id)


@router.delete("/{id}", status_code=204, operation_id="delete_job")
def delete_job(id: JobPath, store: StoreDep) -> None:
    """Delete a job that has ended, with its report and artifacts; 409 before that."""
    store.jobs.delete(id)
