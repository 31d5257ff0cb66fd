"""The uploaded program under labels: whole, on the host, and ready to have smaller programs cut out of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from secateur.units import ModelUnits
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.surgery.operate import operate
from worker.pruning.units.describe import describe
from worker.pruning.units.scores import score
from worker.pruning.units.units import find_units, removed_labels
from worker.recovery.memory import memory_errors

Gone = Mapping[str, frozenset[int]]
"""Removed units: the name of their group -> their places in it, counted from 0."""


class Anatomy:
    """Labels and units belong to the graph and stay; the numbers in the tensors of `whole` may change.

    Every smaller program is cut out of the uploaded graph, never out of another smaller one.
    """

    labelling: Labelling
    known: ModelUnits
    """The units as a record, with the scores and costs that they arrived with."""

    def __init__(self, program: Program, closed: Collection[str] = ()) -> None:
        """`closed` names nodes whose units stay. The program is copied; raises ProgramFails."""
        self.labelling = label(program.copy().to("cpu"), closed)
        self._units = find_units(self.labelling)
        self.known = describe(self._units, self.labelling)

    @property
    def whole(self) -> Program:
        """The program in its full size."""
        return self.labelling.program

    def scores(self, kind: Literal["l1", "l2", "random"], seed: int, cut: Cut) -> list[list[float]]:
        """How much each unit of each group matters in the whole tensors; the lowest goes first."""
        return score(self._units, self.labelling, kind, seed, ~cut.removed)

    def cut(self, gone: Gone) -> Cut:
        """What stays when these units are gone."""
        return Cut(self.labelling, removed_labels(self._units, gone))

    def operated(self, cut: Cut) -> Program:
        """What the cut leaves of the whole program, with the numbers of now; raises SurgeryFailed, OutOfMemory."""
        with memory_errors():
            return operate(self.labelling, cut)
