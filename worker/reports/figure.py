"""The picture of a report: the metric round by round; of a job that measures, with more and more of each layer gone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.report import SHARES, Metric, Report, Round
from secateur.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = 8
"""More numbers than this below the axis would run into each other."""

NAMED = 8
"""So many of the curves have a name; more would hide them."""

Points = Sequence[float | None]

TICKETS = {
    "ticket": ("lottery ticket", "#0b6e4f", "o"),
    "random_reinit": ("same mask, values drawn anew", "#d1495b", "s"),
    "random_mask": ("random mask, initial values", "#8d99ae", "^"),
}
"""Field of a ticket -> label, colour and marker."""


def draw(report: Report, path: Path) -> None:
    """Write a PNG of the rounds; with tickets, of these and what they are compared with."""
    # matplotlib keeps a cache of fonts, and must find a place for it that goes with the job.
    os.environ.setdefault("MPLCONFIGDIR", str(path.parent))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, report)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw(axes: Axes, report: Report) -> None:
    if report.provenance.spec.prune.measures and report.sensitivity is not None:
        _curves(axes, report.sensitivity)
        _frame(axes, report.metric.name, "validation", "share of one layer that is gone, all others whole")
        return
    compared = [each for each in report.rounds if each.ticket is not None]
    if compared:
        _tickets(axes, compared, report.metric)
    else:
        _rounds(axes, report.rounds)
    _left(axes, report.rounds)
    what = "units" if report.sparsity is None else "weights"
    _frame(axes, report.metric.name, report.metric.on if compared else "validation", f"{what} left")


def _curves(axes: Axes, found: Sensitivity) -> None:
    """A line each, the most sensitive ones by name; the first layers are dark, the last ones light."""
    from matplotlib import colormaps
    from matplotlib.ticker import PercentFormatter

    lost = {curve.name: sum(min(drop, 1e9) for drop in found.drops(curve)) for curve in found.curves}
    named = sorted(lost, key=lost.__getitem__, reverse=True)[:NAMED]
    axes.axhline(found.dense, color="#333333", linestyle="--", linewidth=1, label="dense network")
    for place, curve in enumerate(found.curves):
        colour = colormaps["viridis"](place / max(1, len(found.curves) - 1))
        label = curve.name if curve.name in named else None
        points = [
            (amount, value) for amount, value in zip(curve.amounts, curve.metric, strict=True) if value is not None
        ]
        if points:
            across, up = zip((0.0, found.dense), *points, strict=True)
            axes.plot(across, up, color=colour, marker="o", markersize=3, linewidth=1.2, label=label)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _tickets(axes: Axes, rounds: Sequence[Round], metric: Metric) -> None:
    axes.axhline(metric.dense, color="#333333", linestyle="--", linewidth=1, label="dense network")
    for field, (label, colour, marker) in TICKETS.items():
        values = [getattr(each.ticket, field) for each in rounds]
        _line(axes, rounds, values, label, colour, marker)


def _rounds(axes: Axes, rounds: Sequence[Round]) -> None:
    _line(axes, rounds, [each.recovered for each in rounds], "recovered", "#0b6e4f", "o")
    _line(axes, rounds, [each.pruned for each in rounds], "pruned, before its training", "#d1495b", "s")


def _line(axes: Axes, rounds: Sequence[Round], values: Points, label: str, colour: str, marker: str) -> None:
    known = [(left(each), value) for each, value in zip(rounds, values, strict=True) if value is not None]
    if known:
        across, up = zip(*known, strict=True)
        axes.plot(across, up, color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)


def left(round: Round) -> float:
    """The percentage of weights, or of units, that a round leaves."""
    return 100 * (1 - round.gone)


def _left(axes: Axes, rounds: Sequence[Round]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shown = sorted({left(each) for each in rounds}, reverse=True)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(shown[:: -(-len(shown) // TICKS) or 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}%"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _frame(axes: Axes, metric: str, on: str, across: str) -> None:
    from matplotlib.ticker import PercentFormatter

    if metric in SHARES:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(across)
    axes.set_ylabel(f"{metric} ({on})")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
