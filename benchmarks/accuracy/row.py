"""All seeds of one method at one point."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.cell import Cell, Outcome
from benchmarks.accuracy.point import POINTS, Point


@dataclass(frozen=True)
class Row:
    """`outcomes` has a sentence in the place of a cell that failed."""

    network: str
    point: Point
    method: str
    variant: str
    cells: tuple[Cell, ...]
    outcomes: tuple[Outcome | str, ...]

    @property
    def done(self) -> list[Outcome]:
        """What came out."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Outcome)]

    @property
    def failures(self) -> dict[str, str]:
        """Cell -> why nothing came out."""
        pairs = zip(self.cells, self.outcomes, strict=True)
        return {str(cell): outcome for cell, outcome in pairs if isinstance(outcome, str)}

    @property
    def accuracies(self) -> list[float]:
        """Of each seed."""
        return [outcome.accuracy for outcome in self.done]

    def mean(self, of: Callable[[Outcome], float]) -> float:
        """Over the seeds."""
        return statistics.mean(map(of, self.done))


def rows(cells: Sequence[Cell], outcomes: Sequence[Outcome | str]) -> list[Row]:
    """One for each network, point, method and variant: networks and points in order, the rest as it comes."""
    grouped: dict[tuple[str, Point, str, str], list[tuple[Cell, Outcome | str]]] = {}
    for cell, outcome in zip(cells, outcomes, strict=True):
        grouped.setdefault((cell.network, cell.point, cell.method, cell.variant), []).append((cell, outcome))
    found = [Row(*key, *zip(*pairs, strict=True)) for key, pairs in grouped.items()]
    return sorted(found, key=lambda row: (row.network, POINTS.index(row.point)))
