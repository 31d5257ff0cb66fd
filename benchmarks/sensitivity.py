"""What it is worth to spread an amount by what each layer matters: `python -m benchmarks.sensitivity`.

Needs the extra `peers`. Writes `benchmarks/sensitivity.md`, and `sensitivity.png`, the picture of the first network's
curves. Every number is of a job without any training, on the networks and the images with which the recipes of the
accuracy table were chosen; its test images stay untouched.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy import digits, recipes
from benchmarks.accuracy.cell import OURS, Cell
from benchmarks.accuracy.point import Point
from benchmarks.accuracy.subject import Subject
from benchmarks.table import machine, write
from benchmarks.worth.certainty import standard_error
from secateur.client import Client
from secateur.report import Report
from secateur.stack import Stack

PAGE = Path(__file__).with_suffix(".md")
POINTS = [Point(kind="sparsity", amount=amount) for amount in (0.5, 0.7, 0.8)]
POINTS += [Point(kind="macs", amount=amount) for amount in (0.15, 0.3)]
SCOPES = {"sparsity": ("global", "layer", "erk", "sensitivity"), "macs": ("global", "layer", "sensitivity")}
SEEDS = recipes.CHOICE_SEEDS


def subjects() -> Iterator[Subject]:
    """The trained networks, network by network."""
    for network, seed in product(recipes.NETWORKS, SEEDS):
        cell = Cell(network=network, seed=seed, point=POINTS[0], method=OURS, variant="", terms={}, on="choice")
        subject = Subject(cell)
        if not subject.part("test").exists():
            digits.write(subject.data)
        subject.prepare()
        yield subject


def spec(prune: dict[str, Any], seed: int) -> dict[str, Any]:
    """A job that trains nothing."""
    schedule = {"kind": "one_shot"}
    artifacts = ["safetensors", "figure"]
    return {
        "prune": {"schedule": schedule, **prune},
        "recover": {"kind": "none"},
        "finalize": {"artifacts": artifacts, "latency": None},
        "seed": seed,
    }


def done(client: Client, subject: Subject, prune: dict[str, Any], folder: Path | None = None) -> Report:
    """The report of a job; its files in `folder`."""
    parts = {name: subject.part(name) for name in ("train", "validation")}
    wanted = spec(prune, subject.cell.seed)
    result = client.compress(subject.dense.program, **parts, test=subject.reported, spec=wanted)
    if folder is not None:
        result.fetch(folder)["metric.png"].replace(PAGE.with_suffix(".png"))
    return result.report


def measured(folder: Path) -> dict[tuple[str, Point, str], list[Report]]:
    """The reports of all seeds, by network, point and scope."""
    found: dict[tuple[str, Point, str], list[Report]] = {}
    with Stack(data_dir=folder / "var", device="cpu") as stack, Client(stack.url) as client:
        for number, subject in enumerate(subjects()):
            if number == 0:
                done(client, subject, {"target": {"kind": "sensitivity"}}, folder / "out")
            for point in POINTS:
                for scope in SCOPES[point.kind]:
                    report = done(client, subject, {**point.prune, "scope": scope})
                    found.setdefault((subject.cell.network, point, scope), []).append(report)
    return found


def row(network: str, point: Point, found: dict[tuple[str, Point, str], list[Report]]) -> list[str]:
    """One line of the table."""
    accuracies = {
        scope: [report.metric.recovered for report in found[network, point, scope]] for scope in SCOPES[point.kind]
    }
    others = {scope: values for scope, values in accuracies.items() if scope != "sensitivity"}
    best = max(others, key=lambda scope: statistics.mean(others[scope]))
    ahead = [ours - theirs for ours, theirs in zip(accuracies["sensitivity"], others[best], strict=True)]
    cells = [percent(accuracies[scope]) if scope in accuracies else "" for scope in SCOPES["sparsity"]]
    gained = f"{100 * statistics.mean(ahead):+.1f} ± {100 * standard_error(ahead):.1f} ({best})"
    what = f"{point.amount:.0%} {'of the weights' if point.kind == 'sparsity' else 'of the MACs'}"
    dense = percent([report.metric.dense for report in found[network, point, "global"]])
    return [network, what, dense, *cells, gained]


def percent(values: Sequence[float]) -> str:
    """The mean."""
    return f"{statistics.mean(values):.1%}"


def main() -> None:
    """Measure, print the table and write it beside this file."""
    os.environ["SECATEUR_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="secateur-sensitivity-") as folder:
        found = measured(Path(folder))
    rows = [row(network, point, found) for network, point in product(recipes.NETWORKS, POINTS)]
    columns = ["network", "gone", "dense", *SCOPES["sparsity"], "sensitivity - best of the others"]
    notes = [
        f"Accuracy without any training, mean of seeds {', '.join(map(str, SEEDS))}; the last column with its standard "
        "error, paired by seed, in points.",
        f"Curves on {recipes.SIZES['validation']} validation images, accuracy on the images that chose the recipes of "
        "[accuracy.md](accuracy.md); weights by l1, units by l2.",
        "The curves of the first network: [sensitivity.png](sensitivity.png).",
        machine(),
    ]
    write(PAGE, "An amount spread by what each layer matters", columns, rows, notes)


if __name__ == "__main__":
    main()
