"""What a person sees while a job runs: bars and one line a stage, fed by uploads and by the event stream."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from secateur.cli.drawing import figure, plain
from secateur.resources import Event, Job

SHOWN = ("epoch", "epochs", "loss", "layer", "layers")


class Watcher:
    """Draws on the error output, so that the standard output holds nothing but results. `quiet` draws nothing."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=console, transient=True, disable=quiet)
        self.uploads: dict[Path, TaskID] = {}
        self.job: TaskID | None = None
        self.rounds = 0
        self.stage = "queued"

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def on_bytes(self, path: Path, sent: int, total: int) -> None:
        """A part of an upload went out."""
        if path not in self.uploads:
            self.uploads[path] = self.bars.add_task(plain(f"uploading {path.name}").markup, total=total)
        self.bars.update(self.uploads[path], completed=sent)

    def submitted(self, job: Job) -> None:
        """A job waits, or runs already."""
        for upload in self.uploads.values():
            self.bars.remove_task(upload)
        self.uploads.clear()
        self.rounds = job.rounds
        self.say(f"{job.id} {job.state}" + (f", waiting for {job.waiting_for}" if job.waiting_for else ""))
        self.job = self.bars.add_task(self.stage, total=1.0)

    def on_event(self, event: Event) -> None:
        """Something happened: move the bar, or say it in a line of its own."""
        data = event.data
        if event.type == "progress":
            self.advance(data)
        elif event.type == "stage":
            self.stage = staged(data, self.rounds)
            self.advance(data)
        elif event.type == "metric":
            self.measured(data)
        elif event.type == "state":
            self.say(told(event))
        elif event.type in {"note", "error"}:
            self.say(str(data.get("message") or figures(data)))

    def measured(self, data: dict[str, Any]) -> None:
        """A figure: a line of its own, but those of single epochs go beside the bar."""
        if data.get("when") == "epoch":
            self.advance(data)
        else:
            self.say(measurement(data, self.rounds))

    def advance(self, data: dict[str, Any]) -> None:
        """Move the job's bar."""
        if self.job is not None:
            known = figures({key: data[key] for key in SHOWN if key in data})
            text = plain(f"{self.stage} {known}".strip()).markup
            fraction = data.get("fraction")
            done = fraction if isinstance(fraction, float | int) else None
            self.bars.update(self.job, description=text, completed=done)

    def stop(self) -> None:
        """Take the bars away; what follows is the result."""
        self.bars.stop()

    def say(self, text: str) -> None:
        """One line above the bars."""
        if not self.quiet:
            self.bars.console.print(Text("  ") + plain(text), soft_wrap=True)


def staged(data: dict[str, Any], rounds: int) -> str:
    """`fine_tune, round 2 of 5`."""
    number = data.get("round") or 0
    where = f", {counted(number, rounds)}" if number else ""
    return f"{data.get('stage', '?')}{where}"


def counted(number: int, rounds: int) -> str:
    """`round 2 of 5`; a search may need more rounds than its schedule has."""
    return f"round {number} of {rounds}" if number <= rounds else f"round {number}"


def measurement(data: dict[str, Any], rounds: int) -> str:
    """`round 2 of 5: recovered accuracy 98.89% on validation`, and what else is known."""
    name, value = str(data.get("metric")), data.get("value")
    shown = figure(value, name) if isinstance(value, float | int) else str(value)
    where = f"{counted(data['round'], rounds)}: " if data.get("round") else ""
    return f"{where}{str(data.get('when', '')).replace('_', '-')} {name} {shown} on {data.get('on')}{removal(data)}"


def removal(data: dict[str, Any]) -> str:
    """How much a round of pruning has taken: ` at a sparsity of 90.00%`, ` with 50.00% of the units gone, ...`."""
    sparsity, units = data.get("sparsity"), data.get("units_removed")
    if isinstance(sparsity, float):
        return f" at a sparsity of {sparsity:.2%}"
    if not isinstance(units, float):
        return ""
    left = {"parameters": data.get("parameters"), "MACs": data.get("macs")}
    known = "".join(f", {number:,} {name}" for name, number in left.items() if isinstance(number, int))
    return f" with {units:.2%} of the units gone{known}"


def told(event: Event) -> str:
    """A change of state, with its attempt when it is not the first, and the reason where there is one."""
    again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    reason = event.data.get("reason")
    return f"{event.data.get('state')}{again}" + (f": {reason}" if reason else "")


def figures(data: dict[str, Any]) -> str:
    """`epoch 2, loss 0.1034`: the flat part of an event's data."""
    shown = {key: value for key, value in data.items() if isinstance(value, str | int | float)}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
    )
