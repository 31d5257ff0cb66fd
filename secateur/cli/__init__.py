"""The command line. Commands import what they need when they run, so that `--help` is quick."""

from __future__ import annotations

import typer

from secateur.cli import compare, inspect, jobs, prune, sensitivity, serve

app = typer.Typer(
    name="secateur",
    help="Prune a trained network, retrain it, measure it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve.up, serve.worker, inspect.inspect, prune.prune, sensitivity.sensitivity, compare.compare):
    app.command()(command)
for about_jobs in (jobs.jobs, jobs.watch, jobs.cancel, jobs.report, jobs.fetch, jobs.workers):
    app.command()(about_jobs)


def main() -> None:
    """The entry point `secateur`."""
    app()
