"""The report, drawn for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secateur.cli.drawing import figure, plain, size, table
from secateur.cli.structure import report_parts
from secateur.latency import Latency
from secateur.n_m import BlockedLayers
from secateur.report import SHARES, BudgetSearch, Metric, Report, Round, Size, Sparsity
from secateur.sensitivity import Sensitivity

SHARES_SHOWN = 6


def draw(report: Report) -> RenderableType:
    """All of a report: metric, rounds, layers, size, latency, and what a reader should know."""
    return Group(*parts(report))


def parts(report: Report) -> Iterator[RenderableType]:
    """The tables that there is something to show in."""
    yield metric_table(report.metric)
    if report.sensitivity is not None:
        yield sensitivity_table(report.sensitivity, report.provenance.spec.prune.probed, report.metric.name)
    if report.provenance.spec.prune.measures:
        yield from notes(*report.notes)
        return
    if len(report.rounds) > 1:
        yield rounds_table(report.rounds, report.metric)
    if report.budget is not None:
        yield budget_table(report.budget, report.metric)
    if any(each.ticket for each in report.rounds):
        yield tickets_table(report.rounds, report.metric)
    if report.sparsity is not None:
        yield sparsity_table(report.sparsity)
        if report.n_m is not None:
            yield blocks_table(report.n_m)
    else:
        yield from report_parts(report)
    yield size_table(report.size)
    if report.latency:
        yield latency_table("latency", report.latency)
    if report.semi_structured is not None and report.semi_structured.latency:
        yield latency_table("latency on kernels for 2:4", report.semi_structured.latency)
    yield from notes(report.size.note, *report.notes)


def notes(*sentences: str) -> Iterator[RenderableType]:
    """What a reader should know, each with a line before it."""
    for sentence in sentences:
        yield Padding(plain(sentence), (1, 0, 0, 1))


def metric_table(metric: Metric) -> Table:
    """The metric at the four moments that matter."""
    drawn = table(f"{metric.name} on {metric.on}, {metric.examples} examples", "", metric.name, "against dense")
    untrained = {} if metric.initial is None else {"initial (as uploaded)": metric.initial}
    moments = untrained | {
        f"dense ({'as trained here' if untrained else 'as uploaded'})": metric.dense,
        "one-shot (all at once, no training)": metric.one_shot,
        "pruned (last round, before training)": metric.pruned,
        "recovered (handed over)": metric.recovered,
    }
    for moment, value in moments.items():
        drawn.add_row(moment, figure(value, metric.name), difference(value, metric))
    error = figure(metric.standard_error, metric.name)
    drawn.caption = (
        f"standard error of recovered: {error}; {'higher' if metric.higher_is_better else 'lower'} is better"
    )
    return drawn


def difference(value: float | None, metric: Metric) -> str:
    """How far a value is from the dense one; shares in points."""
    if value is None:
        return ""
    far = value - metric.dense
    return f"{100 * far:+.2f} points" if metric.name in SHARES else f"{far:+.4g}"


def rounds_table(rounds: tuple[Round, ...], metric: Metric) -> Table:
    """One line a round, measured on the validation data."""
    units = rounds[0].sparsity is None
    amount = "units removed" if units else "sparsity"
    drawn = table("rounds, on validation", "round", amount, "pruned", "recovered", "epochs", "best")
    for each in rounds:
        figures = (figure(each.pruned, metric.name), figure(each.recovered, metric.name))
        epochs = f"{each.epochs} (stopped)" if each.stopped_early else str(each.epochs)
        number = str(each.round) if each.kept else f"{each.round} (undone)"
        drawn.add_row(number, f"{each.gone:.2%}", *figures, epochs, str(each.best_epoch))
    return drawn


def budget_table(found: BudgetSearch, metric: Metric) -> Table:
    """What a search was allowed, what it found, and what it cost."""
    drawn = table("the search, on validation", "", metric.name)
    for what, value in (("dense", found.dense), ("the worst that is allowed", found.bound), ("found", found.found)):
        drawn.add_row(what, figure(value, metric.name))
    drawn.caption = f"{found.trials} trials, {found.epochs} epochs; one job trains {found.epochs_of_one_job}"
    return drawn


def sensitivity_table(found: Sensitivity, amounts: Sequence[float], metric: str) -> Table:
    """The metric with more and more of each layer gone by itself, for as many shares as a line holds."""
    shown = amounts[:: -(-len(amounts) // SHARES_SHOWN)]
    title = f"{metric} on validation without a share of one layer; dense {figure(found.dense, metric)}"
    drawn = table(title, "layer", "size", *(f"{amount:.4g}" for amount in shown))
    for curve in found.curves:
        known = dict(zip(curve.taken, curve.metric, strict=True))
        places = [round(amount * curve.size) for amount in shown]
        row = [figure(known[place], metric) if place in known else "" for place in places]
        drawn.add_row(plain(curve.name), f"{curve.size:,}", *row)
    return drawn


def tickets_table(rounds: tuple[Round, ...], metric: Metric) -> Table:
    """Lottery tickets beside what they are compared with."""
    drawn = table(f"lottery tickets, on {metric.on}", "round", "left", "ticket", "values drawn anew", "random mask")
    for each in rounds:
        if each.ticket is not None:
            found = (each.ticket.ticket, each.ticket.random_reinit, each.ticket.random_mask)
            drawn.add_row(str(each.round), f"{1 - each.gone:.2%}", *(figure(one, metric.name) for one in found))
    return drawn


def sparsity_table(sparsity: Sparsity) -> Table:
    """Zeros of each chosen layer, and of all of them."""
    drawn = table("sparsity", "layer", "shape", "zeros", "weights", "sparsity")
    for layer in sparsity.layers:
        shape = " x ".join(map(str, layer.shape))
        share = layer.zeros / layer.total if layer.total else 0.0
        drawn.add_row(plain(layer.name), shape, f"{layer.zeros:,}", f"{layer.total:,}", f"{share:.2%}")
    drawn.add_section()
    drawn.add_row("all chosen layers", "", f"{sparsity.zeros:,}", f"{sparsity.total:,}", f"{sparsity.overall:.2%}")
    return drawn


def blocks_table(found: BlockedLayers) -> Table:
    """The blocks of each chosen layer, and the most weights that are left in one."""
    title = f"at most {found.keep} of {found.of} weights stay: the proof {'holds' if found.holds else 'DOES NOT HOLD'}"
    drawn = table(title, "layer", "input axis", "blocks", "most left in one", "weights outside blocks")
    for layer in found.layers:
        axis = "-" if layer.axis is None else str(layer.axis)
        drawn.add_row(plain(layer.name), axis, f"{layer.blocks:,}", str(layer.fullest), f"{layer.remainder:,}")
    return drawn


def size_table(sizes: Size) -> Table:
    """What the network weighs."""
    drawn = table("size", "", "")
    drawn.show_header = False
    drawn.add_row("parameters", f"{sizes.parameters:,}")
    drawn.add_row("of them not zero", f"{sizes.nonzero:,}")
    drawn.add_row("tensors, dense", size(sizes.dense_bytes))
    for name, size_bytes in sizes.gzip_bytes.items():
        drawn.add_row(Text.assemble("tensors under gzip, ", plain(name)), size(size_bytes))
    for name, size_bytes in sizes.artifacts.items():
        drawn.add_row(plain(name), size(size_bytes))
    return drawn


def latency_table(what: str, latencies: tuple[Latency, ...]) -> Table:
    """Dense and pruned network timed alternately."""
    first = latencies[0]
    title = f"{what} in ms on {first.device}, {first.threads} threads, {first.runs} runs"
    drawn = table(title, "batch", "dense p50", "dense p95", "pruned p50", "pruned p95", "speed-up")
    for each in latencies:
        times = (each.dense_p50_ms, each.dense_p95_ms, each.pruned_p50_ms, each.pruned_p95_ms)
        drawn.add_row(str(each.batch), *(f"{time_ms:.3f}" for time_ms in times), f"{each.speed_up:.2f} x")
    return drawn
