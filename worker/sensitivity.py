"""Finding out how much each layer or group matters: the metric without more and more of it, and no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from secateur.errors import SurgeryFailed
from secateur.report import finite
from secateur.sensitivity import Curve, counts
from worker.methods.method import Part, Probe
from worker.program.program import Program


def curves(
    probe: Probe,
    amounts: Sequence[float],
    score: Callable[[Program], float],
    note: Callable[[str], None],
    known: Sequence[Curve] = (),
) -> Iterator[Curve]:
    """One curve after the other, in the order of the parts; those that are `known` already are left out.

    A group whose units surgery cannot follow has a shorter curve, and `note` hears why.
    """
    there = {curve.name for curve in known}
    for name, part in probe.parts.items():
        if name not in there:
            yield _curve(probe, name, part, amounts, score, note)


def _curve(
    probe: Probe,
    name: str,
    part: Part,
    amounts: Sequence[float],
    score: Callable[[Program], float],
    note: Callable[[str], None],
) -> Curve:
    metric: dict[int, float | None] = {}
    for count in counts(part.size, amounts, part.most):
        try:
            with probe.without(name, count) as program:
                metric[count] = finite(score(program))
        except SurgeryFailed as error:
            note(f"How much {count} units of {name} matter is not known, because they cannot be cut. {error.message}")
    return Curve(name=name, kind=part.kind, size=part.size, taken=tuple(metric), metric=tuple(metric.values()))
