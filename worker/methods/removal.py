"""Taking whole units: channels, neurons and heads go out of tensors and literals; a smaller dense network is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secateur.latency import PredictedLatency
from secateur.removal import (
    TOLERANCE,
    choose_groups,
    count_macs,
    count_parameters,
    kept_per_part,
    may_go,
    priced,
    select,
    share_gone,
)
from secateur.removal.latency import UnitTimes, count_latency
from secateur.removal.prices import by_sensitivity
from secateur.removal.queue import Scores
from secateur.report import Macs, Proof, UnitCount
from secateur.sensitivity import Sensitivity
from secateur.spec.structured import PruneUnits
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.ledger import Taken
from worker.methods.anatomy import Gone
from worker.methods.examination import Examiner
from worker.methods.gathering import FIRST, Gathering
from worker.methods.method import Network
from worker.methods.probe import UnitProbe
from worker.methods.proved import proved
from worker.methods.resizing import copy_numbers, fill, graft, put_back, resized
from worker.program.program import Program
from worker.pruning import masks
from worker.pruning.cut import Cut
from worker.pruning.masks import Masks
from worker.pruning.precision import let_go
from worker.pruning.schedules import amounts
from worker.recovery.portion import Note
from worker.recovery.state import TrainState

PREFIX = "removed"


class Removal:
    """Smaller programs that are cut out of the uploaded one, round by round.

    Between two rounds the trained numbers go back into the whole tensors, and the next units are chosen there; what is
    gone stays gone. The last cut that is planned is tried and proved before anything is trained, and what is handed
    over is proved again.
    """

    program: Program
    masks: Masks
    """Those that arrived with the upload: their zeros stay zeros in what is left."""
    unit_times: UnitTimes | None
    """What units cost in time, where that counts."""

    def __init__(self, program: Program, bench: Bench, note: Note) -> None:
        """Raises NothingPrunable, NothingMatches, TargetUnreachable, SurgeryFailed, BadFeature."""
        assert isinstance(bench.spec.prune, PruneUnits)
        self._bench, self._note = bench, note
        self._searches = bench.spec.prune.searches
        self._gathering = Gathering(bench.spec.prune.importance, bench, note)
        self._found: Sensitivity | None = None
        self.program = program.to(bench.device)
        self.masks = program.masks
        self._examiner = Examiner(bench, self._gathering, note)
        self._anatomy, self._arrived, self._prune, self.unit_times = self._examiner.examine(program)
        for feature in bench.teacher.features if bench.teacher else ():
            self._anatomy.node(feature)
        curve = getattr(self._prune.schedule, "curve", "one_shot")
        self._plan = amounts(self._prune.rounds, self.most, curve=curve)
        self._gone: Gone = {}
        self._cut = self._before = self._anatomy.cut(self._gone)

    @property
    def network(self) -> Network:
        """The program, of which the units that are gone are left out of features, too."""
        return Network(self.program, self.masks, partial(self._anatomy.left_of, self._cut))

    @contextmanager
    def at_once(self) -> Iterator[Program]:
        """A program of its own, proved. Raises ProofFailed."""
        put_back(self.program, self._cut, self._anatomy.whole)
        cut = self._anatomy.cut(self._chosen(self._prune.target.amount, FIRST))
        network = self._anatomy.operated(cut)
        self._proved(self.program, cut, network)
        yield network.to(self._bench.device)
        let_go(network)

    def probe(self) -> UnitProbe:
        """Of the chosen groups, each without its lowest units, as far as any may go."""
        put_back(self.program, self._cut, self._anatomy.whole)
        known, prune = self._anatomy.known, self._prune.model_copy(update={"max_amount": 1.0})
        return UnitProbe(self._anatomy, may_go(known, prune, self._scores(FIRST)), self._bench.device)

    def spread(self, found: Sensitivity) -> None:
        """Rank units by what their going is predicted to cost the metric."""
        if self._prune.scope == "sensitivity":
            self._found = found

    @property
    def most(self) -> float:
        """What the target asks for; of a search, as much of that as can go."""
        return self._prune.target.amount

    def prune(self, number: int, amount: float | None = None) -> Taken:
        """Choose on the whole tensors as they were trained, and cut anew."""
        put_back(self.program, self._cut, self._anatomy.whole)
        gone = self._chosen(self._plan[number - 1] if amount is None else amount, number)
        if gone == self._gone:
            self._note(f"Round {number} removed nothing: as much as it asks for was gone before.")
        self._take(gone)
        known, counts = self._anatomy.known, self._counts()
        kept = kept_per_part(known, gone)
        if number == self._prune.rounds and not self._searches:
            self._say_what_is_missed()
        return Taken(
            units_removed=1 - sum(count.after for count in counts) / sum(count.before for count in counts),
            parameters=count_parameters(known, kept),
            macs=count_macs(known, kept),
        )

    def _say_what_is_missed(self) -> None:
        target = self._prune.target
        share = share_gone(self._anatomy.known, self._prune, self._gone)
        if abs(share - target.amount) > TOLERANCE:
            self._note(
                f"{share:.1%} of the {target.kind} are gone, {target.amount:.1%} were asked for: units go whole, with "
                f"multiple_of {self._prune.multiple_of}."
            )

    def carried(self, state: TrainState) -> TrainState:
        """The memory of what is left: entry by entry it does not depend on what is gone."""
        return resized(state, self._before, self._cut, self._anatomy.whole)

    def rewind(self, values: Mapping[str, Tensor]) -> None:
        """Set the tensors to the part of the values that is left."""
        fill(self.program, self._cut, values)
        masks.apply(dict(self.program.named_parameters()), self.masks)

    def sibling(self, values: Mapping[str, Tensor], shuffled: int | None = None) -> Network:
        """The same cut of the upload, or one of as many units of each group, at random among those that may go."""
        cut = self._cut if shuffled is None else self._anatomy.cut(self._shuffled(shuffled))
        network = self._anatomy.operated(cut).to(self._bench.device)
        fill(network, cut, values)
        masks.apply(dict(network.named_parameters()), network.masks)
        return Network(network, network.masks, partial(self._anatomy.left_of, cut))

    def _shuffled(self, seed: int) -> Gone:
        known = self._anatomy.known
        scores = self._anatomy.scores("random", seed, self._anatomy.cut({}))
        members = may_go(known, self._prune, scores)
        return {group: frozenset(members[group][: len(units)]) for group, units in self._gone.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Which units of each group are gone."""
        return {f"{PREFIX}/{group}": torch.tensor(sorted(units)) for group, units in self._gone.items() if units}

    def restore(self, saved: Checkpoint) -> None:
        """Cut the same units out of the upload again."""
        self._take({group: frozenset(units.tolist()) for group, units in saved.under(PREFIX).items()})

    def commit(self, dense: Program) -> None:
        """Prove that the program which is handed over computes what the uploaded graph does without the removed units.

        Both have the trained numbers; what was removed has the uploaded ones again, so that its effect can be seen.
        Raises ProofFailed.
        """
        masks.apply(dict(self.program.named_parameters()), self.masks)
        self.program.masks.clear()
        trained = dense.copy()
        graft(self.program, self._cut, trained)
        copy_numbers(trained, self._anatomy.whole)
        self._proof = self._proved(trained, self._cut, self.program)
        found_nothing = not self._gone and (self._searches or self._bench.spec.prune.measures)
        if self._proof.effect <= self._proof.tolerance and not found_nothing:
            self._note("What was removed has no effect on the outputs: that the proof holds says little.")

    def findings(self) -> dict[str, Any]:
        """What is smaller, what could not be made smaller and why, and the proof."""
        known = self._anatomy.known
        dense, pruned = (count_macs(known, kept_per_part(known, gone)) for gone in ({}, self._gone))
        return {
            "macs": Macs(dense=dense, pruned=pruned),
            "units": self._counts(),
            "frozen": known.frozen,
            "proof": self._proof,
            "predicted_latency": self._predicted(),
            **self._gathering.findings(),
        }

    def _predicted(self) -> PredictedLatency | None:
        if self.unit_times is None:
            return None
        kept = kept_per_part(self._anatomy.known, self._gone)
        return PredictedLatency(**dict(self.unit_times), pruned_ms=count_latency(self._anatomy.known, kept))

    def _chosen(self, amount: float, number: int) -> dict[str, frozenset[int]]:
        """What is gone, and the units that go next until it is `amount`, by what round `number` sees."""
        chosen = select(self._anatomy.known, self._prune, self._scores(number), amount, self._gone)
        return {group: units for group, units in chosen.items() if units}

    def _scores(self, number: int) -> Scores:
        """What a selection of round `number` compares."""
        as_arrived = number == FIRST and not self._bench.spec.trains_dense
        scores = self._arrived if as_arrived else self._examiner.scores(self._anatomy, self.program, self._cut, number)
        if self._found is not None:
            return by_sensitivity(self._anatomy.known, self._prune, scores, self._found, self._gone)
        return priced(self._anatomy.known, self._prune, scores)

    def _take(self, gone: Gone) -> None:
        let_go(self.program)
        self._gone, self._before, self._cut = gone, self._cut, self._anatomy.cut(gone)
        self.program = self._anatomy.operated(self._cut).to(self._bench.device)
        self.masks = self.program.masks

    def _proved(self, whole: Program, cut: Cut, network: Program) -> Proof:
        return proved(whole, self._anatomy.labelling, cut, network, self._bench.some)

    def _counts(self) -> tuple[UnitCount, ...]:
        known = self._anatomy.known
        groups = [known.groups[index] for index in choose_groups(known, self._prune)]
        return tuple(
            UnitCount(
                group=group.name,
                kind=group.kind,
                before=group.size,
                after=group.size - len(self._gone.get(group.name, ())),
            )
            for group in groups
        )
