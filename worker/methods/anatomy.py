"""The uploaded program under labels: whole, on the host, and ready to have smaller programs cut out of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, fx

from secateur.units import ModelUnits
from worker.program.observing import node_named
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.surgery.operate import operate
from worker.pruning.units.describe import describe
from worker.pruning.units.lines import used_parameters
from worker.pruning.units.scores import Kind, score, sum_owned
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

    @property
    def parameters(self) -> tuple[str, ...]:
        """The first names of the parameters that the graph uses."""
        return tuple(dict.fromkeys(used_parameters(self.whole).values()))

    def scores(self, kind: Kind, seed: int, cut: Cut, gathered: Tensor | None = None) -> list[list[float]]:
        """How much each unit of each group matters in the whole tensors; the lowest goes first.

        `gathered` is the magnitude of each label, where that comes from data.
        """
        return score(self._units, self.labelling, kind, seed, ~cut.removed, gathered=gathered)

    def owned(self, tensors: Mapping[str, Tensor], cut: Cut) -> Tensor:
        """Of each label the sum over all that belongs to it: float64, (labels,).

        `tensors` are shaped as what the cut leaves of the parameters of these names.
        """
        whole = {}
        for name, parameter in self.whole.named_parameters():
            if name in tensors:
                whole[name] = torch.zeros(parameter.shape, dtype=tensors[name].dtype)
                cut.scatter(name, tensors[name].cpu(), whole[name])
        return torch.from_numpy(sum_owned(self._units, self.labelling, whole))

    def cut(self, gone: Gone) -> Cut:
        """What stays when these units are gone."""
        return Cut(self.labelling, removed_labels(self._units, gone))

    def node(self, name: str) -> fx.Node:
        """A node of the uploaded graph. Raises BadFeature where it is none, or was rewritten for the labels' sake."""
        return node_named(self.whole.module.graph, name)

    def left_of(self, cut: Cut, name: str, value: Tensor) -> Tensor:
        """What a cut leaves of the value at a node. Raises BadFeature, SurgeryFailed."""
        return cut.left_of(self.node(name), value)

    def operated(self, cut: Cut) -> Program:
        """What the cut leaves of the whole program, with the numbers of now; raises SurgeryFailed, OutOfMemory."""
        with memory_errors():
            return operate(self.labelling, cut)
