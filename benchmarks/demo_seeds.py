"""Does the demo's promise hold for other seeds too? The demo's recipe for 20 of them, through one running stack.

    python -m benchmarks.demo_seeds

Writes `benchmarks/demo_seeds.md`. Fails when fewer than 19 of 20 recover to within 1.0 point of their dense accuracy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.table import machine
from examples.digits import ALLOWED_LOSS, compress
from secateur.cli.progress import Watcher
from secateur.client import Client
from secateur.report import Report
from secateur.stack import Stack

PAGE = Path(__file__).with_suffix(".md")
SEEDS = 20
ENOUGH = 0.95


def measured(seeds: Sequence[int]) -> dict[int, Report]:
    """The report of each seed's network."""
    console, reports = Console(stderr=True), {}
    with (
        tempfile.TemporaryDirectory(prefix="secateur-seeds-") as name,
        Stack(data_dir=Path(name) / "var") as stack,
        Client(stack.url) as client,
    ):
        for seed in seeds:
            with Watcher(console, quiet=True) as watcher:
                reports[seed] = compress(client, watcher, Path(name), seed).report
            metric = reports[seed].metric
            console.print(f"seed {seed}: dense {metric.dense:.2%}, recovered {metric.recovered:.2%}")
    return reports


def difference(report: Report) -> float:
    """Recovered minus dense accuracy."""
    return report.metric.recovered - report.metric.dense


def page(reports: dict[int, Report]) -> str:
    """The figures as Markdown."""
    differences = [difference(report) for report in reports.values()]
    any_report = next(iter(reports.values()))
    lines = [
        "# The demo's recipe for other seeds",
        "",
        "Written by `python -m benchmarks.demo_seeds`: 90 % of the weights pruned globally by L1 in 5 rounds; accuracy "
        f"on {any_report.metric.examples} test images.",
        "",
        f"Recovered minus dense: mean {100 * statistics.mean(differences):+.2f} points, worst "
        f"{100 * min(differences):+.2f} points; {within(reports)} of {len(reports)} within "
        f"{100 * ALLOWED_LOSS:.1f} point.",
        "",
        machine(),
        "",
        "| seed | dense | one-shot | pruned | recovered | recovered - dense |",
        "|---:|---:|---:|---:|---:|---:|",
        *(row(seed, report) for seed, report in reports.items()),
    ]
    return "\n".join(lines) + "\n"


def row(seed: int, report: Report) -> str:
    """One seed."""
    metric = report.metric
    figures = (metric.dense, metric.one_shot, metric.pruned, metric.recovered)
    return f"| {seed} | {' | '.join(f'{figure:.2%}' for figure in figures)} | {100 * difference(report):+.2f} points |"


def within(reports: dict[int, Report]) -> int:
    """How many networks recovered to within the allowed loss."""
    return sum(difference(report) >= -ALLOWED_LOSS for report in reports.values())


def main(seeds: int) -> int:
    """Measure, write the page, and judge; the exit code."""
    reports = measured(range(seeds))
    text = page(reports)
    if seeds == SEEDS:
        PAGE.write_text(text, encoding="utf8")
    print(text)
    return 0 if within(reports) >= ENOUGH * seeds else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The demo's recipe for many seeds.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fewer are not written down")
    sys.exit(main(parser.parse_args().seeds))
