"""What the commands that make a job have in common: upload, submit, watch, and show what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from secateur.cli.connection import connected, going_on_without_us, printable, write_json

if TYPE_CHECKING:
    from secateur.cli.progress import Watcher
    from secateur.client import Result
    from secateur.resources import Job, Validation

Task = Annotated[
    Literal[
        "classification",
        "regression",
        "causal_lm",
        "masked_lm",
        "token_classification",
        "segmentation",
        "distillation_only",
    ]
    | None,
    typer.Option(help="Decides loss and metric; distillation_only needs no labels. (classification by default)"),
]


class Data(NamedTuple):
    """Where a job's data is: files or ids; `validation` may be a share of the training data."""

    train: str
    test: str | None
    validation: str | float | None


def carry_out(
    model: str,
    data: Data,
    spec: dict[str, Any],
    out: Path | None,
    detach: bool,
    dry_run: bool,
    as_json: bool,
    url: str,
    api_key: str | None,
) -> None:
    """Upload, submit, watch and show."""
    a_source(model, "mdl_"), a_source(data.train, "dst_"), data.test and a_source(data.test, "dst_")
    with connected(url, api_key) as client, watcher(as_json) as watching:
        client.on_bytes = watching.on_bytes
        whole = client.prepare(model, **data._asdict(), spec=spec)
        if dry_run:
            foresee(client.validate(whole, wait=True), as_json)
            return
        job = client.submit(whole)
        watching.submitted(job)
        if detach:
            announce(job, as_json)
            return
        with going_on_without_us(job.id):
            for event in client.watch(job.id):
                watching.on_event(event)
        result = client.result(job.id)
        files = {} if out is None else result.fetch(out)
        watching.stop()
        show(result, files, as_json)


def a_source(given: str, prefix: str) -> str:
    """An id, or the path of a file that is there. Raises BadParameter."""
    if given.startswith(prefix) or Path(given).is_file():
        return given
    raise typer.BadParameter(f"{given!r} is neither a file nor an id ({prefix}...)")


def share(given: str | None) -> str | float | None:
    """What --validation takes: a number is a share of the training data. Raises BadParameter."""
    if given is None:
        return None
    try:
        number = float(given)
    except ValueError:
        return a_source(given, "dst_")
    if not 0 < number < 1:
        raise typer.BadParameter(f"{given} is no share between 0 and 1", param_hint="--validation")
    return number


def watcher(as_json: bool) -> Watcher:
    """Progress on the error output; none for machines."""
    from rich.console import Console

    from secateur.cli.progress import Watcher

    return Watcher(Console(stderr=True), quiet=as_json)


def announce(job: Job, as_json: bool) -> None:
    """A job that was submitted and is left alone."""
    if as_json:
        write_json(job)
    else:
        typer.echo(job.id)


def foresee(found: Validation, as_json: bool) -> None:
    """What a job would take away, or why it would be refused: then with exit code 1."""
    if as_json:
        write_json(found)
    elif found.forecast is not None:
        from rich.console import Console, Group

        from secateur.cli.structure import forecast_parts

        Console().print(Group(*forecast_parts(found.forecast)))
    for problem in () if as_json else found.problems:
        typer.echo(printable(f"{problem.code}: {problem.pointer}: {problem.message}"), err=True)
    if not found.valid:
        raise typer.Exit(1)


def show(result: Result, files: dict[str, Path], as_json: bool) -> None:
    """The report, and where the files are."""
    if as_json:
        paths = {name: str(path) for name, path in files.items()}
        write_json({"job": plain(result.job), "report": plain(result.report), "files": paths})
        return
    from rich.console import Console

    from secateur.cli.table import draw

    Console().print(draw(result.report))
    for path in files.values():
        typer.echo(path)
    if not files:
        typer.echo(f"Download it: secateur fetch {result.job.id} --out FOLDER")


def plain(record: Any) -> Any:
    """A record as JSON takes it."""
    return record.model_dump(mode="json")
