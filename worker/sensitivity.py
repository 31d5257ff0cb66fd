"""Finding out how much each layer or group matters: the metric without more and more of it, and no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from secateur.errors import SurgeryFailed
from secateur.report import finite
from secateur.sensitivity import Curve, Sensitivity, counts
from secateur.states import Stage
from worker.methods.method import Part, Probe
from worker.order import Probed
from worker.program.program import Program
from worker.recovery.portion import Note
from worker.standing import Standing
from worker.trainer import PauseAsked

Metric = Callable[[Program], float]


def find(at: Standing) -> None:
    """From a job before, from the checkpoint, or now; the method goes by it. For jobs that need it."""
    if not at.order.spec.prune.needs_sensitivity:
        return
    if at.ledger.sensitivity is None:
        with at.stage(Stage.SENSITIVITY):
            at.ledger.sensitivity = at.order.sensitivity or _measured(at)
        if at.ledger.sensitivity is at.order.sensitivity:
            at.narration.note("What each layer matters by itself was known from a job before.")
        else:
            at.narration.say(Probed(sensitivity=at.ledger.sensitivity))
    at.method.spread(at.ledger.sensitivity)


def _measured(at: Standing) -> Sensitivity:
    dense, probe, known = at.dense_on_validation(), at.method.probe(), at.ledger.curves

    def metric(program: Program) -> float:
        return at.score(program, at.bench.validation).value

    try:
        for curve in _curves(probe, at.order.spec.prune.probed, metric, at.narration.note, known):
            known.append(curve)
            at.narration.probed(curve.name, len(known), len(probe.parts))
            at.trainer.save_if_due()
    except PauseAsked:
        at.save()
        raise
    higher = at.bench.objective.higher_is_better
    return Sensitivity(dense=dense.value, higher_is_better=higher, curves=tuple(known))


def _curves(
    probe: Probe, amounts: Sequence[float], metric: Metric, note: Note, known: Sequence[Curve]
) -> Iterator[Curve]:
    """One after the other, in the order of the parts; those that are `known` already are left out."""
    there = {curve.name for curve in known}
    for name, part in probe.parts.items():
        if name not in there:
            yield _curve(probe, name, part, amounts, metric, note)


def _curve(probe: Probe, name: str, part: Part, amounts: Sequence[float], metric: Metric, note: Note) -> Curve:
    """Shorter where surgery cannot follow the units; `note` hears why."""
    found: dict[int, float | None] = {}
    for count in counts(part.size, amounts, part.most):
        try:
            with probe.without(name, count) as program:
                found[count] = finite(metric(program))
        except SurgeryFailed as error:
            note(f"How much {count} units of {name} matter is not known, because they cannot be cut. {error.message}")
    return Curve(name=name, kind=part.kind, size=part.size, taken=tuple(found), metric=tuple(found.values()))
