"""Units, what they cost, what is frozen and the proof, drawn for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table

from secateur.cli.drawing import plain, size, table
from secateur.report import Proof, Report, UnitCount
from secateur.resources import Forecast
from secateur.units import FrozenNode, ModelUnits

FROZEN_SHOWN = 10


def report_parts(report: Report) -> Iterator[RenderableType]:
    """The part of a report that a structured job has."""
    yield units_table(report.units)
    yield network_table(report)
    if report.frozen:
        yield frozen_table(report.frozen)
    if report.proof is not None:
        yield Padding(plain(proof_line(report.proof)), (1, 0, 0, 1))


def forecast_parts(forecast: Forecast) -> Iterator[RenderableType]:
    """What a job would take away."""
    if forecast.weights is not None and forecast.zeros is not None:
        title = "forecast (at least: zeros that are there may add to it)" if forecast.estimate else "forecast"
        drawn = table(title, "", "weights", "zeros", "share")
        drawn.add_row(f"{len(forecast.layers)} layers", *counts(forecast.weights, forecast.zeros, forecast.zeros))
        if forecast.left_whole:
            drawn.caption = f"{len(forecast.left_whole)} of them have no block and stay whole: see --json"
        yield drawn
    if forecast.parameters is None or forecast.macs is None:
        return
    yield units_table(forecast.units)
    title = "forecast (an estimate: scores may change)" if forecast.estimate else "forecast (exact)"
    drawn = table(title, "", "before", "after", "removed")
    for name, change in (("parameters", forecast.parameters), ("MACs of one example", forecast.macs)):
        drawn.add_row(name, *counts(change.before, change.after, change.before - change.after))
    yield drawn


def units_table(found: Sequence[UnitCount]) -> Table:
    """Units of each chosen group before and after, and of all of them."""
    drawn = table("units", "group", "kind", "before", "after", "removed")
    for each in found:
        drawn.add_row(plain(each.group), each.kind, *counts(each.before, each.after, each.before - each.after))
    before, after = sum(each.before for each in found), sum(each.after for each in found)
    drawn.add_section()
    drawn.add_row("all chosen groups", "", *counts(before, after, before - after))
    return drawn


def network_table(report: Report) -> Table:
    """The whole network before and after."""
    drawn, sizes = table("network", "", "dense", "pruned", "removed"), report.size
    drawn.add_row(
        "parameters",
        *counts(sizes.dense_parameters, sizes.parameters, sizes.dense_parameters - sizes.parameters),
    )
    if report.macs is not None:
        macs = report.macs
        drawn.add_row("MACs of one example", *counts(macs.dense, macs.pruned, macs.dense - macs.pruned))
    if report.predicted_latency is not None:
        times = report.predicted_latency
        gone = share(times.dense_ms - times.pruned_ms, times.dense_ms)
        name = f"ms a batch of {times.batch}, predicted"
        drawn.add_row(name, f"{times.dense_ms:.3f}", f"{times.pruned_ms:.3f}", gone)
    saved = share(sizes.dense_bytes - sizes.pruned_bytes, sizes.dense_bytes)
    drawn.add_row("tensors", size(sizes.dense_bytes), size(sizes.pruned_bytes), saved)
    return drawn


def groups_table(units: ModelUnits) -> Table:
    """What structured pruning can remove from a model."""
    drawn = table(
        f"units that can be removed: {units.prunable_share:.1%} of the parameters are in reach",
        "group",
        "kind",
        "units",
        "parameters each",
        "MACs each",
        "share",
    )
    for group in units.groups:
        costs = (f"{group.parameters_per_unit:,.0f}", f"{group.macs_per_unit:,.0f}", f"{group.share:.1%}")
        drawn.add_row(plain(group.name), group.kind, f"{group.size:,}", *costs)
    return drawn


def frozen_table(found: Sequence[FrozenNode]) -> Table:
    """The first places where the analysis stopped."""
    drawn = table("frozen", "node", "why")
    drawn.columns[1].justify = "left"
    for each in found[:FROZEN_SHOWN]:
        drawn.add_row(plain(each.node), plain(each.why))
    if len(found) > FROZEN_SHOWN:
        drawn.caption = f"and {len(found) - FROZEN_SHOWN} more: see --json"
    return drawn


def proof_line(proof: Proof) -> str:
    """What the proof says, in words."""
    restricted = len(proof.nodes_restricted)
    return (
        f"The proof {'holds' if proof.holds else 'DOES NOT HOLD'}: the pruned network differs from the full-size one "
        f"without the removed units by {proof.max_relative_error:.1e} of the largest output (at most "
        f"{proof.tolerance:.0e}), while pruning itself moved outputs by {proof.effect:.1e} of it. "
        f"{proof.nodes_plain} nodes compared plainly, {restricted} with the statistics of what is left."
    )


def counts(before: int, after: int, removed: int) -> tuple[str, str, str]:
    """Three figures of a row: before, after, and the share that `removed` is of the first."""
    return f"{before:,}", f"{after:,}", share(removed, before)


def share(part: float, of: float) -> str:
    """A part of a whole in percent."""
    return f"{part / of:.2%}" if of else "-"
