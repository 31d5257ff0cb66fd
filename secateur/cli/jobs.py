"""`secateur jobs`, `watch`, `cancel`, `report`, `fetch`, `workers`: what is there, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.connection import LOCAL, ApiKey, Json, Url, connected, going_on_without_us, write_json
from secateur.cli.submission import show, watcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from secateur.resources import Job, Worker

JobIdArgument = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]


def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """List the jobs."""
    with connected(url, api_key) as client:
        found = list(client.jobs(state))
    if as_json:
        write_json([job.model_dump(mode="json") for job in found])
    else:
        draw(jobs_table(found))


def watch(job: JobIdArgument, as_json: Json = False, url: Url = LOCAL, api_key: ApiKey = None) -> None:
    """Show what happens to a job until it has ended. With --json: one line an event."""
    with connected(url, api_key) as client, watcher(as_json) as watching:
        watching.submitted(client.job(job))
        with going_on_without_us(job):
            for event in client.watch(job):
                watching.on_event(event)
                if as_json:
                    write_json(event)
        client.result(job)


def cancel(job: JobIdArgument, as_json: Json = False, url: Url = LOCAL, api_key: ApiKey = None) -> None:
    """Stop a job."""
    with connected(url, api_key) as client:
        cancelled = client.cancel(job)
    if as_json:
        write_json(cancelled)
    else:
        typer.echo(f"{job} {'is being cancelled' if cancelled.cancel_requested else cancelled.state}")


def report(job: JobIdArgument, as_json: Json = False, url: Url = LOCAL, api_key: ApiKey = None) -> None:
    """Show the report of a job that succeeded."""
    with connected(url, api_key) as client:
        result = client.result(job)
    if as_json:
        write_json(result.report)
    else:
        show(result, {}, as_json)


def fetch(
    job: JobIdArgument,
    out: Annotated[Path, typer.Option(help="The folder to put them in.", file_okay=False)],
    name: Annotated[list[str] | None, typer.Option(help="Only this one.")] = None,
    as_json: Json = False,
    url: Url = LOCAL,
    api_key: ApiKey = None,
) -> None:
    """Download what a job handed over; digests are checked, and a download that broke off goes on."""
    with connected(url, api_key) as client:
        files = client.fetch(job, out, name)
    if as_json:
        write_json({name: str(path) for name, path in files.items()})
    else:
        typer.echo("\n".join(map(str, files.values())))


def workers(as_json: Json = False, url: Url = LOCAL, api_key: ApiKey = None) -> None:
    """List the live workers and the devices that they serve."""
    with connected(url, api_key) as client:
        found = client.workers()
    if as_json:
        write_json([worker.model_dump(mode="json") for worker in found])
    else:
        draw(workers_table(found))


def draw(table: Table) -> None:
    """A table on the standard output."""
    from rich.console import Console

    Console().print(table)


def jobs_table(found: Iterable[Job]) -> Table:
    """One line a job."""
    from secateur.cli.drawing import table

    drawn = table("jobs", "id", "state", "stage", "round", "progress", "created")
    for job in found:
        stage = job.waiting_for or job.stage or ""
        round_ = f"{job.round}/{job.rounds}"
        drawn.add_row(job.id, job.state, stage, round_, f"{job.progress:.0%}", f"{job.created_at:%Y-%m-%d %H:%M:%S}")
    return drawn


def workers_table(found: Iterable[Worker]) -> Table:
    """One line a worker."""
    from secateur.cli.drawing import plain, size, table

    drawn = table("workers", "id", "device", "name", "memory", "queues", "job")
    for worker in found:
        queues = ", ".join(worker.queues)
        drawn.add_row(
            worker.id, worker.device, plain(worker.device_name), size(worker.memory_bytes), queues, worker.job or ""
        )
    return drawn
