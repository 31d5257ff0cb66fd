"""The end of a job: the files that are handed over, and the report about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from secateur.errors import OutOfMemory
from secateur.report import Latency, Metric, Provenance, Report, finite
from worker.bench import Bench
from worker.ledger import Ledger
from worker.order import JobOrder
from worker.program import writer
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning import masks
from worker.pruning.masks import Masks
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Score
from worker.reports.hardware import hardware, versions
from worker.reports.latency import measure_latency
from worker.reports.size import measure_size
from worker.reports.sparsity import measure_sparsity


def commit(bench: Bench, kept: Masks) -> None:
    """Make the masks permanent, as `torch.nn.utils.prune.remove` does: the zeros stay, the masks are no more."""
    masks.apply(dict(bench.program.named_parameters()), kept)
    bench.program.masks.clear()


def write(bench: Bench, kept: Masks, folder: Path) -> dict[str, int]:
    """Write what the spec asks for into `folder`; name of each file -> its bytes."""
    bench.program.to("cpu")
    on_cpu = {name: mask.cpu() for name, mask in kept.items()}
    writers: dict[str, tuple[str, Callable[[Path], None]]] = {
        "pt2": ("model.pt2", lambda path: writer.write(bench.program, path)),
        "safetensors": ("model.safetensors", lambda path: writer.write_state(bench.program, path)),
        "checkpoint": ("checkpoint.safetensors", lambda path: writer.write_checkpoint(bench.program, on_cpu, path)),
    }
    sizes = {}
    for wanted in bench.spec.finalize.artifacts:
        name, write_to = writers[wanted]
        write_to(folder / name)
        sizes[name] = (folder / name).stat().st_size
    return sizes


def report(order: JobOrder, bench: Bench, ledger: Ledger, recovered: Score, artifacts: Mapping[str, int]) -> Report:
    """Everything that is known about the job, the dense network read anew for the comparison."""
    dense = read(Path(order.model))
    parameters = dict(bench.program.named_parameters())
    latency = _latency(bench, ledger, dense)
    size = measure_size(dense.module.state_dict(), bench.program.module.state_dict(), list(parameters), artifacts)
    return Report(
        metric=_metric(bench, ledger, recovered),
        rounds=tuple(ledger.rounds),
        sparsity=measure_sparsity(parameters, bench.amounts),
        size=size,
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
    )


def _metric(bench: Bench, ledger: Ledger, recovered: Score) -> Metric:
    assert ledger.dense is not None
    assert ledger.one_shot is not None
    assert ledger.pruned is not None
    return Metric(
        name=bench.objective.metric,
        on=bench.reported_on,
        higher_is_better=bench.objective.higher_is_better,
        dense=ledger.dense.value,
        one_shot=finite(ledger.one_shot.value),
        pruned=finite(ledger.pruned.value),
        recovered=recovered.value,
        examples=recovered.examples,
        standard_error=recovered.standard_error,
    )


def _latency(bench: Bench, ledger: Ledger, dense: Program) -> tuple[Latency, ...]:
    """The rows that can be measured; a job is not lost because its largest batch does not fit into memory."""
    wanted = bench.spec.finalize.latency
    if wanted is None:
        return ()
    pruned = bench.program.to(bench.device)
    dense.to(bench.device)
    rows: list[Latency] = []
    for batch in wanted.batch_sizes:
        if not bench.inspection.batch.allows(batch):
            ledger.note(f"No latency at batch size {batch}: the model does not take it.")
            continue
        try:
            with memory_errors():
                rows += measure_latency(dense, pruned, pruned.example, [batch], wanted.runs, bench.device)
        except OutOfMemory:
            ledger.note(f"No latency at batch size {batch}: there was not enough memory.")
    return tuple(rows)
