"""Does the demo's promise hold for other seeds too? Both of its recipes for 20 of them, through one running stack.

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
from examples.digits import ACTS, ALLOWED_LOSS, compress, write_data, write_model
from secateur.cli.progress import Watcher
from secateur.client import Client
from secateur.report import Report
from secateur.stack import Stack

PAGE = Path(__file__).with_suffix(".md")
SEEDS = 20
ENOUGH = 0.95
TITLES = {
    "weights": "90 % of the weights, globally by L1 in 5 rounds",
    "units": "Half of the multiply-accumulates, channels and neurons by L2 in 5 rounds",
}


Reports = dict[str, dict[int, Report]]
"""By act of the demo and by seed."""


def measured(seeds: Sequence[int]) -> Reports:
    """The reports of each seed's network."""
    console = Console(stderr=True)
    reports: Reports = {act: {} for act in ACTS}
    with (
        tempfile.TemporaryDirectory(prefix="secateur-seeds-") as name,
        Stack(data_dir=Path(name) / "var") as stack,
        Client(stack.url) as client,
    ):
        write_data(Path(name))
        for seed in seeds:
            write_model(Path(name), seed)
            for act, spec in ACTS.items():
                with Watcher(console, quiet=True) as watcher:
                    report = compress(client, watcher, Path(name), {**spec, "seed": seed}).report
                reports[act][seed] = report
                metric = report.metric
                console.print(f"seed {seed}, {act}: dense {metric.dense:.2%}, recovered {metric.recovered:.2%}")
    return reports


def difference(report: Report) -> float:
    """Recovered minus dense accuracy."""
    return report.metric.recovered - report.metric.dense


def page(reports: Reports) -> str:
    """The figures as Markdown."""
    lines = ["# The demo's recipes for other seeds", "", "Written by `python -m benchmarks.demo_seeds`.", "", machine()]
    for act, of_seeds in reports.items():
        lines += ["", f"## {TITLES[act]}", "", summary(of_seeds), ""]
        lines += ["| seed | dense | one-shot | pruned | recovered | recovered - dense | MACs left |"]
        lines += ["|---:|---:|---:|---:|---:|---:|---:|"]
        lines += [row(seed, report) for seed, report in of_seeds.items()]
    return "\n".join(lines) + "\n"


def summary(reports: dict[int, Report]) -> str:
    """What holds over all seeds."""
    differences = [difference(report) for report in reports.values()]
    examples = next(iter(reports.values())).metric.examples
    return (
        f"Accuracy on {examples} test images, recovered minus dense: mean {100 * statistics.mean(differences):+.2f} "
        f"points, worst {100 * min(differences):+.2f} points; {within(reports)} of {len(reports)} within "
        f"{100 * ALLOWED_LOSS:.1f} point."
    )


def row(seed: int, report: Report) -> str:
    """One seed."""
    metric = report.metric
    figures = (metric.dense, metric.one_shot, metric.pruned, metric.recovered)
    shown = " | ".join("not finite" if figure is None else f"{figure:.2%}" for figure in figures)
    left = "all" if report.macs is None else f"{report.macs.pruned / report.macs.dense:.1%}"
    return f"| {seed} | {shown} | {100 * difference(report):+.2f} points | {left} |"


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
    return 0 if all(within(of_seeds) >= ENOUGH * seeds for of_seeds in reports.values()) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The demo's recipe for many seeds.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fewer are not written down")
    sys.exit(main(parser.parse_args().seeds))
