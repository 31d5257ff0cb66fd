"""Taking from one layer, or one group of units, by itself, to see how much it matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from secateur.allocation import Pool
from worker.methods.anatomy import Anatomy
from worker.methods.method import Part
from worker.program.program import Program
from worker.pruning import masks
from worker.pruning.evidence import Evidence
from worker.pruning.importance import Importance
from worker.pruning.masks import Masks
from worker.pruning.precision import let_go
from worker.pruning.select import select


class WeightProbe:
    """Zeros in one weight at a time; the program is that of the job, and is as it was afterwards."""

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, torch.nn.Parameter],
        kept: Masks,
        importance: Importance,
        evidence: Evidence,
    ) -> None:
        """`weights` are those that can be taken from; `kept` are masks that arrived with the program."""
        self._program, self._weights, self._masks = program, weights, kept
        self._importance, self._evidence = importance, evidence

    @property
    def parts(self) -> dict[str, Part]:
        """The weights."""
        return {name: Part("weight", weight.numel(), weight.numel()) for name, weight in self._weights.items()}

    @contextmanager
    def without(self, name: str, count: int) -> Iterator[Program]:
        """The program itself, for as long as the context lasts."""
        weight = self._weights[name]
        whole = weight.detach().clone()
        pool = Pool((name,), count / weight.numel())
        found = select({name: weight}, [pool], importance=self._importance, masks=self._masks, evidence=self._evidence)
        masks.apply({name: weight}, found)
        try:
            yield self._program
        finally:
            with torch.no_grad():
                weight.copy_(whole)


class UnitProbe:
    """Programs of their own, cut out of the upload, each without units of one group."""

    def __init__(self, anatomy: Anatomy, members: Mapping[str, Sequence[int]], device: torch.device) -> None:
        """`members` are the units that may go of each group that is chosen, the first to go first."""
        self._anatomy, self._members, self._device = anatomy, members, device

    @property
    def parts(self) -> dict[str, Part]:
        """The groups."""
        groups = {group.name: group for group in self._anatomy.known.groups}
        return {name: Part(groups[name].kind, groups[name].size, len(units)) for name, units in self._members.items()}

    @contextmanager
    def without(self, name: str, count: int) -> Iterator[Program]:
        """A smaller program, for as long as the context lasts."""
        cut = self._anatomy.cut({name: frozenset(self._members[name][:count])})
        program = self._anatomy.operated(cut).to(self._device)
        try:
            yield program
        finally:
            let_go(program)
