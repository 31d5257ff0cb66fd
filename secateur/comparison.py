"""Jobs side by side: what they were asked for differently, and which of them came off best."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from secateur.latency import Latency
from secateur.record import Record
from secateur.report import MetricName, Report
from secateur.spec.data import by_content

ASKED = ("data", "task", "prune", "recover", "seed")
"""The parts of a spec that make a difference to what comes out."""

NOTICEABLE = 0.01
"""By how much the shares that are left of two networks may differ for them to count as equally small."""


class Compared(Record):
    """One of the jobs."""

    job: str
    asked: dict[str, str] = Field(
        description="Of the spec, what is not the same for all and not everywhere a default; values as JSON."
    )
    dense: float
    recovered: float
    standard_error: float
    behind: float = Field(description="How much worse `recovered` is than that of the best.")
    level: bool = Field(
        description="Whether that is no more than a standard error of the difference, taken as if the two had been "
        "measured on examples of their own."
    )
    parameters_left: float = Field(description="Those that are not zero, as a share of the upload's.")
    macs_left: float | None = Field(description="As a share of the upload's. null: single weights were taken.")
    speed_up: float | None = Field(description="At the largest batch that was timed. null: none was.")


class Comparison(Record):
    """All of them, the best first."""

    metric: MetricName
    jobs: tuple[Compared, ...]
    cautions: tuple[str, ...] = Field(description="Why they should perhaps not be compared.")


def compare(reports: Mapping[str, Report]) -> Comparison:
    """The reports, by the ids of their jobs. Raises ValueError where there are not two, or not of one task."""
    if len(reports) < 2:
        raise ValueError("There is nothing to compare: name two jobs or more.")
    tasks = sorted({_task(report) for report in reports.values()})
    if len(tasks) > 1:
        raise ValueError(f"These jobs have different tasks, {' and '.join(tasks)}: compare those of one.")
    higher = next(iter(reports.values())).metric.higher_is_better
    order = sorted(reports, key=lambda job: reports[job].metric.recovered, reverse=higher)
    best = reports[order[0]]
    asked = {job: _asked(report) for job, report in reports.items()}
    differing = _differing(list(reports.values()), list(asked.values()))
    found = tuple(_compared(job, reports[job], best, asked[job], differing) for job in order)
    return Comparison(metric=best.metric.name, jobs=found, cautions=tuple(_cautions(list(reports.values()), found)))


def _task(report: Report) -> str:
    task = report.provenance.spec.task.model_dump(mode="json", include={"kind", "like", "output"}, exclude_none=True)
    return ", ".join(str(value) for value in task.values())


def _compared(job: str, report: Report, best: Report, asked: Mapping[str, str], differing: list[str]) -> Compared:
    ours, theirs, size = report.metric, best.metric, report.size
    behind = abs(theirs.recovered - ours.recovered)
    return Compared(
        job=job,
        asked={name: asked[name] for name in differing if name in asked},
        dense=ours.dense,
        recovered=ours.recovered,
        standard_error=ours.standard_error,
        behind=behind,
        level=behind <= math.hypot(ours.standard_error, theirs.standard_error),
        parameters_left=size.nonzero / size.dense_parameters if size.dense_parameters else 1.0,
        macs_left=report.macs.pruned / report.macs.dense if report.macs and report.macs.dense else None,
        speed_up=timed.speed_up if (timed := _timed(report)) else None,
    )


def _timed(report: Report) -> Latency | None:
    return max(report.latency, key=lambda row: row.batch, default=None)


def _asked(report: Report, *, exclude_defaults: bool = False) -> dict[str, str]:
    spec = report.provenance.spec.model_dump(mode="json", include=set(ASKED), exclude_defaults=exclude_defaults)
    spec["data"] = by_content(spec["data"], report.provenance.data_sha256)
    return {name: json.dumps(value) for name, value in _leaves("", spec)}


def _differing(reports: list[Report], asked: list[dict[str, str]]) -> list[str]:
    """What is not the same for all: kinds, first of each part, and what is not the default in some job."""
    told = {name for report in reports for name in _asked(report, exclude_defaults=True)}
    named = dict.fromkeys(name for leaves in asked for name in leaves if name in told or name.endswith(".kind"))
    differing = [name for name in named if len({leaves.get(name) for leaves in asked}) > 1]
    return sorted(differing, key=lambda name: (ASKED.index(name.split(".")[0]), not name.endswith(".kind")))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    else:
        yield path, value


def _cautions(reports: list[Report], found: tuple[Compared, ...]) -> Iterator[str]:
    if len({report.provenance.model_sha256 for report in reports}) > 1:
        yield "They started from different models."
    if len({(report.metric.on, _measured_on(report)) for report in reports}) > 1:
        yield "They were measured on different data."
    elif reports[0].metric.on == "validation":
        yield "They were measured on the validation data, by which each chose its best epochs."
    if told := _sizes(found):
        yield f"They are not of one size: {told}."
    timed = {(row.batch, row.device, row.threads) for report in reports if (row := _timed(report))}
    if len(timed) > 1:
        yield "Their speed-ups were measured at different batch sizes, or on different devices."


def _sizes(found: tuple[Compared, ...]) -> str:
    """Between which shares of parameters and MACs are left; nothing where one of the two is the same for all."""
    counted = {"parameters": [each.parameters_left for each in found]}
    macs = [each.macs_left for each in found if each.macs_left is not None]
    if len(macs) == len(found):
        counted["MACs"] = macs
    if any(max(left) - min(left) <= NOTICEABLE for left in counted.values()):
        return ""
    return " and ".join(f"{min(left):.1%} to {max(left):.1%} of the {what} are left" for what, left in counted.items())


def _measured_on(report: Report) -> str:
    """What the metric rests on, as a text that is the same for the same."""
    data, provenance = report.provenance.spec.data, report.provenance
    if data.test is not None:
        parts = {"test"}
    elif isinstance(data.validation, str):
        parts = {"validation"}
    else:
        parts = {"train", "validation"}
    facts = data.model_dump(mode="json", include={"inputs", "target", "transforms", *parts})
    drawn_by = provenance.seed if "train" in parts else None
    return json.dumps([by_content(facts, provenance.data_sha256), drawn_by])
