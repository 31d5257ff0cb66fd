"""The end of a job: the files that are handed over, and the report about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from secateur.errors import OutOfMemory
from secateur.latency import Latency, SemiStructured
from secateur.n_m import BlockedLayers
from secateur.report import BudgetSearch, Metric, Provenance, Report, finite
from worker import semi_structured
from worker.bench import Bench
from worker.ledger import Ledger
from worker.methods.method import Method
from worker.order import JobOrder
from worker.program import writer
from worker.program.program import Program, Runnable
from worker.pruning.masks import Masks
from worker.pruning.proof import Draw
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Score
from worker.reports import figure
from worker.reports.hardware import hardware, versions
from worker.reports.latency import measure_latency
from worker.reports.size import measure_size

FIGURE = "metric.png"


def write(program: Program, kept: Masks, wanted: Iterable[str], folder: Path) -> dict[str, int]:
    """Write the networks that are `wanted` into `folder`; name of each file -> its bytes. Leaves it on the CPU."""
    program.to("cpu")
    on_cpu = {name: mask.cpu() for name, mask in kept.items()}
    writers: dict[str, tuple[str, Callable[[Path], None]]] = {
        "pt2": ("model.pt2", lambda path: writer.write(program, path)),
        "safetensors": ("model.safetensors", lambda path: writer.write_state(program, path)),
        "checkpoint": ("checkpoint.safetensors", lambda path: writer.write_checkpoint(program, on_cpu, path)),
    }
    sizes = {}
    for artifact in wanted:
        if artifact not in writers:
            continue
        name, write_to = writers[artifact]
        write_to(folder / name)
        sizes[name] = (folder / name).stat().st_size
    return sizes


def draw(report: Report, wanted: Iterable[str], folder: Path) -> tuple[str, ...]:
    """Write what is drawn from the report, where it is wanted; the names of the files."""
    if "figure" not in wanted:
        return ()
    figure.draw(report, folder / FIGURE)
    return (FIGURE,)


def report(
    order: JobOrder,
    bench: Bench,
    dense: Program,
    method: Method,
    ledger: Ledger,
    recovered: Score,
    artifacts: Mapping[str, int],
    budget: BudgetSearch | None,
) -> Report:
    """Everything that is known about the job; `dense` is the upload, for the comparison."""
    pruned = method.program
    parameters = [name for name, _ in pruned.named_parameters()]
    found = method.findings()
    latency = _latency(bench, ledger, dense, pruned)
    known = Report(
        metric=_metric(bench, ledger, recovered),
        rounds=tuple(ledger.rounds),
        budget=budget,
        sensitivity=ledger.sensitivity,
        size=measure_size(dense.module.state_dict(), pruned.module.state_dict(), parameters, artifacts),
        latency=latency,
        timing={stage: round(seconds, 3) for stage, seconds in ledger.seconds.items()},
        notes=tuple(ledger.notes),
        provenance=Provenance(
            spec=order.spec,
            model_sha256=order.model_sha256,
            data_sha256=order.data_sha256,
            seed=order.spec.seed,
            versions=versions(),
            hardware=hardware(bench.device),
            attempts=order.attempt,
        ),
        **found,
    )
    sparse = _semi_structured(bench, ledger, dense, pruned, known.n_m)
    return known.model_copy(update={"semi_structured": sparse, "notes": tuple(ledger.notes)})


def _metric(bench: Bench, ledger: Ledger, recovered: Score) -> Metric:
    assert ledger.dense is not None
    assert ledger.pruned is not None
    return Metric(
        name=bench.objective.metric,
        on=bench.reported_on,
        higher_is_better=bench.objective.higher_is_better,
        initial=None if ledger.initial is None else finite(ledger.initial.value),
        dense=ledger.dense.value,
        one_shot=None if ledger.one_shot is None else finite(ledger.one_shot.value),
        pruned=finite(ledger.pruned.value),
        recovered=recovered.value,
        examples=recovered.examples,
        standard_error=recovered.standard_error,
    )


def _latency(bench: Bench, ledger: Ledger, dense: Program, pruned: Program) -> tuple[Latency, ...]:
    if bench.spec.finalize.latency is None or bench.spec.prune.measures:
        return ()
    for program in (dense, pruned):
        program.to(bench.device)
    return _timed(bench, ledger, pruned.example, dense, pruned)


def _semi_structured(
    bench: Bench, ledger: Ledger, dense: Program, pruned: Program, proved: BlockedLayers | None
) -> SemiStructured | None:
    if proved is None:
        return None
    blocked = [layer.name for layer in proved.layers if layer.blocks]
    timed = partial(_timed, bench, ledger, pruned.example)
    return semi_structured.measure(bench, dense, pruned, blocked, timed, ledger.note)


def _timed(bench: Bench, ledger: Ledger, inputs: Draw, dense: Runnable, pruned: Runnable) -> tuple[Latency, ...]:
    """The rows that can be measured; a job is not lost because its largest batch does not fit into memory."""
    wanted = bench.spec.finalize.latency
    if wanted is None:
        return ()
    rows: list[Latency] = []
    for batch in wanted.batch_sizes:
        if not bench.inspection.batch.allows(batch):
            ledger.note(f"No latency at batch size {batch}: the model does not take it.")
            continue
        try:
            with memory_errors():
                rows += measure_latency(dense, pruned, inputs, [batch], wanted.runs, bench.device)
        except OutOfMemory:
            ledger.note(f"No latency at batch size {batch}: there was not enough memory.")
    return tuple(rows)
