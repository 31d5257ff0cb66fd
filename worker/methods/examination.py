"""What can be done to an upload, found out before anything is spent on it: where its units are, and how far they go."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from secateur.errors import SurgeryFailed, TargetUnreachable
from secateur.removal import priced, require_reachable, select
from secateur.removal.latency import TimedUnits, UnitTimes
from secateur.removal.queue import Scores
from secateur.spec.structured import PruneUnits
from worker.bench import Bench
from worker.methods.anatomy import Anatomy
from worker.methods.gathering import FIRST, Gathering
from worker.methods.timing import Timing
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.recovery.portion import Note

CLOSED_MAX = 4
"""How many nodes that surgery cannot follow may be left alone before a job is given up."""


class Examined(NamedTuple):
    """The labelled program, of which surgery can take the final amount."""

    anatomy: Anatomy
    arrived: Scores
    """Of its units, as it arrived."""
    prune: PruneUnits
    """What is asked for; a search goes no further than it can."""
    unit_times: UnitTimes | None
    """What units cost in time, where that counts."""


class Examiner:
    """Examines a program for one job."""

    def __init__(self, bench: Bench, gathering: Gathering, note: Note) -> None:
        assert isinstance(bench.spec.prune, PruneUnits)
        self._bench, self._gathering, self._note = bench, gathering, note
        self._asked = bench.spec.prune.fixed
        self._unit_times = bench.unit_times

    def examine(self, program: Program) -> Examined:
        """Tries the final amount; nodes that surgery cannot follow are left alone, and a note says so.

        Raises NothingPrunable, NothingMatches, TargetUnreachable, SurgeryFailed.
        """
        closed = set(self._unit_times.left_alone if self._unit_times else ())
        while True:
            anatomy = Anatomy(program, closed)
            try:
                self._take_time(anatomy, closed)
                arrived = self.scores(anatomy, program, anatomy.cut({}), FIRST)
                scores = priced(anatomy.known, self._asked, arrived)
                prune = self._reachable(anatomy, scores)
                anatomy.operated(anatomy.cut(select(anatomy.known, prune, scores, prune.target.amount)))
                return Examined(anatomy, arrived, prune, self._unit_times)
            except SurgeryFailed as error:
                node = error.context.get("node")
                if not isinstance(node, str) or node in closed or len(closed) == CLOSED_MAX:
                    raise
                closed.add(node)
                self._note(f"The units at the node {node} stay, because they cannot be cut out. {error.message}")

    def scores(self, anatomy: Anatomy, program: Program, cut: Cut, number: int) -> Scores:
        """How much each unit matters in round `number`, by the importance; `cut` left `program` of the upload."""
        gathered = self._gathering.of_units(anatomy, program, cut, number)
        return anatomy.scores(self._asked.importance.kind, self._bench.spec.seed, cut, gathered)

    def _take_time(self, anatomy: Anatomy, closed: Collection[str]) -> None:
        """Units learn what they cost in time, where that counts: once, of the same nodes."""
        if self._asked.counted != "latency":
            return
        if self._unit_times is None or set(self._unit_times.left_alone) != set(closed):
            self._unit_times = Timing(anatomy, self._asked, self._bench, self._note).of_units(closed)
        anatomy.known = TimedUnits.of(anatomy.known, self._unit_times)

    def _reachable(self, anatomy: Anatomy, scores: Scores) -> PruneUnits:
        """A search goes as far as it can, at most as far as it was to. Raises TargetUnreachable of any other job."""
        try:
            require_reachable(anatomy.known, self._asked, scores)
        except TargetUnreachable as error:
            if not self._bench.spec.prune.searches:
                raise
            return self._asked.taking(float(error.context["reachable"]))
        return self._asked
