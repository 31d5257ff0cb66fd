"""Methods side by side at one point, over the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.worth.certainty import standard_error


@dataclass(frozen=True)
class Paired:
    """Accuracies of two sides under the same seeds, in the same order."""

    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def differences(self) -> list[float]:
        """Ours minus theirs, of each seed."""
        return [ours - theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def difference(self) -> float:
        """The mean of the differences."""
        return statistics.mean(self.differences)

    @property
    def standard_error(self) -> float:
        """Of that mean, from how the seeds differ; unknown where there is but one."""
        return standard_error(self.differences) if len(self.differences) > 1 else math.nan

    @property
    def behind(self) -> bool:
        """By more than one standard error."""
        return self.difference < -self.standard_error

    @property
    def ahead(self) -> bool:
        """By more than one standard error."""
        return self.difference > self.standard_error


def best(sides: Mapping[str, Sequence[float]]) -> str:
    """The side with the highest mean; of equals, the first."""
    return max(sides, key=lambda name: statistics.mean(sides[name]))


def holds(paired: Paired | None, must_be_ahead: bool) -> bool:
    """Whether the target holds at a point; it does not where a cell failed, and there is nothing to compare."""
    if paired is None:
        return False
    return paired.ahead if must_be_ahead else not paired.behind
