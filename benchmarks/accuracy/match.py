"""One of ours against the best of the others at its point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.accuracy import plan
from benchmarks.accuracy.cell import OURS
from benchmarks.accuracy.comparison import Paired, best, holds
from benchmarks.accuracy.point import AHEAD
from benchmarks.accuracy.row import Row


@dataclass(frozen=True)
class Match:
    """`paired` is None where a cell failed, of ours or of any of the others."""

    ours: Row
    rival: str
    paired: Paired | None

    @property
    def must_be_ahead(self) -> bool:
        """Whether it is not enough to be as good."""
        return self.ours.point in AHEAD

    @property
    def holds(self) -> bool:
        """Whether the target holds."""
        return holds(self.paired, self.must_be_ahead)

    @property
    def difference(self) -> str:
        """In points of accuracy, with its standard error."""
        if self.paired is None:
            return "no comparison"
        return f"{100 * self.paired.difference:+.2f} ± {100 * self.paired.standard_error:.2f}"

    @property
    def verdict(self) -> str:
        """One sentence."""
        target = "more than one standard error" if self.must_be_ahead else "minus one standard error or more"
        return (
            f"{self.ours.network}, {self.ours.point}: ours - {self.rival} {self.difference} points (target: {target}). "
            f"{'Holds.' if self.holds else 'DOES NOT HOLD.'}"
        )


def matches(rows: Sequence[Row]) -> list[Match]:
    """One for each row of ours that has all seeds, in their order."""
    most = max((len(row.cells) for row in rows), default=0)
    return [_match(row, rows) for row in rows if row.method == OURS and len(row.cells) == most]


def _match(ours: Row, rows: Sequence[Row]) -> Match:
    variants = plan.frozen(ours.network, ours.point)
    others = [
        row
        for row in rows
        if (row.network, row.point) == (ours.network, ours.point)
        and row.method != OURS
        and row.variant == variants[row.method]
    ]
    failed = [row.method for row in (ours, *others) if row.failures]
    if failed or len(others) < len(variants) - 1:
        return Match(ours, ", ".join(failed) or "nobody", None)
    sides = {row.method: row.accuracies for row in others}
    rival = best(sides)
    return Match(ours, rival, Paired(ours.accuracies, sides[rival]))
