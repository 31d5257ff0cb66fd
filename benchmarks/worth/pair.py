"""The sides of one kind of task over all seeds, and what they say together."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.worth.certainty import standard_error
from benchmarks.worth.outcome import Outcome
from benchmarks.worth.task import Task

ALLOWED_LOSS = 0.01


@dataclass(frozen=True)
class Side:
    """One side of one task: what came out, and how much faster it is at batch 32."""

    outcome: Outcome
    speed_up: float


@dataclass(frozen=True)
class Pairs:
    """The tasks of one network on one data set, and each side of them in the same order."""

    tasks: tuple[Task, ...]
    ours: tuple[Side, ...]
    rounded: tuple[Side, ...]
    """Ours in sizes that the processor likes; not a part of what is judged."""
    theirs: tuple[Side, ...]

    @property
    def differences(self) -> list[float]:
        """Recovered accuracy, ours minus theirs, of each seed."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [ours.outcome.recovered - theirs.outcome.recovered for ours, theirs in pairs]

    @property
    def difference(self) -> float:
        """The mean of the differences."""
        return statistics.mean(self.differences)

    @property
    def standard_error(self) -> float:
        """Of that mean, from how the seeds differ."""
        return standard_error(self.differences)

    @property
    def loss(self) -> float:
        """Mean accuracy, dense minus recovered, of ours."""
        return statistics.mean(side.outcome.dense - side.outcome.recovered for side in self.ours)

    @property
    def good(self) -> bool:
        """At most one point lost, and not behind the other side by more than a standard error."""
        return self.loss <= ALLOWED_LOSS and self.difference >= -self.standard_error
