"""Taking whole units: channels, neurons and heads go out of tensors and literals; a smaller dense network is left."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secateur.errors import ProofFailed, SurgeryFailed, TargetUnreachable
from secateur.latency import PredictedLatency
from secateur.layers import named
from secateur.removal import (
    TOLERANCE,
    choose_groups,
    count_macs,
    count_parameters,
    kept_per_part,
    priced,
    require_reachable,
    select,
    share_gone,
)
from secateur.removal.latency import TimedUnits, UnitTimes, count_latency
from secateur.removal.prices import by_sensitivity
from secateur.removal.queue import Scores, line_up
from secateur.report import Macs, Proof, UnitCount
from secateur.sensitivity import Sensitivity
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.structured import PruneUnits
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.ledger import Taken
from worker.methods.anatomy import Anatomy, Gone
from worker.methods.gathering import FIRST, Gathering
from worker.methods.method import Network, Note
from worker.methods.probe import UnitProbe
from worker.methods.resizing import copy_numbers, fill, graft, put_back, resized
from worker.methods.timing import Timing
from worker.program.program import Program, named_tensors
from worker.pruning import masks
from worker.pruning.cut import Cut
from worker.pruning.masks import Masks
from worker.pruning.precision import let_go
from worker.pruning.proof import prove
from worker.pruning.schedules import amounts
from worker.recovery.memory import memory_errors
from worker.recovery.state import TrainState

PREFIX = "removed"
CLOSED_MAX = 4
"""How many nodes that surgery cannot follow may be left alone before a job is given up."""


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
        self._asked, self._bench, self._note = bench.spec.prune.fixed, bench, note
        self._prune = self._asked
        self._searches = isinstance(bench.spec.prune.target, MaxAccuracyDrop)
        self.unit_times = bench.unit_times
        self._gathering = Gathering(self._prune.importance, bench, note)
        self._found: Sensitivity | None = None
        self.program = program.to(bench.device)
        self.masks = program.masks
        self._anatomy, self._arrived = self._examined(program)
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
        scores = self._scores(FIRST)
        queue = line_up(known, prune, choose_groups(known, prune), scores, {})
        members = {known.groups[at].name: units for at, units in queue.members.items()}
        return UnitProbe(self._anatomy, members, self._bench.device)

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
        queue = line_up(known, self._prune, choose_groups(known, self._prune), scores, {})
        members = {known.groups[at].name: units for at, units in queue.members.items()}
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

    def _examined(self, program: Program) -> tuple[Anatomy, Scores]:
        """The labelled program, of which surgery can take the final amount, and the scores, both as it arrived."""
        closed = set(self.unit_times.left_alone if self.unit_times else ())
        while True:
            anatomy = Anatomy(program, closed)
            try:
                self._take_time(anatomy, closed)
                seen = self._seen(anatomy, anatomy.cut({}), FIRST)
                scores = priced(anatomy.known, self._prune, seen)
                self._settle_amount(anatomy, scores)
                last = anatomy.cut(select(anatomy.known, self._prune, scores, self._prune.target.amount))
                anatomy.operated(last)
                return anatomy, seen
            except SurgeryFailed as error:
                node = error.context.get("node")
                if not isinstance(node, str) or node in closed or len(closed) == CLOSED_MAX:
                    raise
                closed.add(node)
                self._note(f"The units at the node {node} stay, because they cannot be cut out. {error.message}")

    def _take_time(self, anatomy: Anatomy, closed: Collection[str]) -> None:
        """Units learn what they cost in time, where that counts: once, of the same nodes."""
        if self._prune.counted != "latency":
            return
        if self.unit_times is None or set(self.unit_times.left_alone) != set(closed):
            self.unit_times = Timing(anatomy, self._prune, self._bench, self._note).of_units(closed)
        anatomy.known = TimedUnits.of(anatomy.known, self.unit_times)

    def _settle_amount(self, anatomy: Anatomy, scores: Scores) -> None:
        """A search goes as far as it can, at most as far as it was to. Raises TargetUnreachable of any other job."""
        self._prune = self._asked
        try:
            require_reachable(anatomy.known, self._prune, scores)
        except TargetUnreachable as error:
            if not self._searches:
                raise
            self._prune = self._prune.taking(float(error.context["reachable"]))

    def _chosen(self, amount: float, number: int) -> dict[str, frozenset[int]]:
        """What is gone, and the units that go next until it is `amount`, by what round `number` sees."""
        chosen = select(self._anatomy.known, self._prune, self._scores(number), amount, self._gone)
        return {group: units for group, units in chosen.items() if units}

    def _scores(self, number: int) -> Scores:
        """What a selection of round `number` compares."""
        as_arrived = number == FIRST and not self._bench.spec.trains_dense
        scores = self._arrived if as_arrived else self._seen(self._anatomy, self._cut, number)
        if self._found is not None:
            return by_sensitivity(self._anatomy.known, self._prune, scores, self._found, self._gone)
        return priced(self._anatomy.known, self._prune, scores)

    def _seen(self, anatomy: Anatomy, cut: Cut, number: int) -> Scores:
        """By the importance, in round `number`; `cut` left the program of now."""
        gathered = self._gathering.of_units(anatomy, self.program, cut, number)
        return anatomy.scores(self._prune.importance.kind, self._bench.spec.seed, cut, gathered)

    def _take(self, gone: Gone) -> None:
        let_go(self.program)
        self._gone, self._before, self._cut = gone, self._cut, self._anatomy.cut(gone)
        self.program = self._anatomy.operated(self._cut).to(self._bench.device)
        self.masks = self.program.masks

    def _proved(self, whole: Program, cut: Cut, network: Program) -> Proof:
        with memory_errors():
            proof = prove(whole, self._anatomy.labelling, cut, network)
            if not math.isfinite(proof.max_relative_error):
                proof = prove(whole, self._anatomy.labelling, cut, network, inputs=self._bench.some)
        if not proof.holds:
            shown = proof.model_dump(mode="json")
            if not math.isfinite(proof.max_relative_error):
                _require_numbers(whole, shown)
            raise ProofFailed(
                f"The outputs of the pruned network differ by {proof.max_relative_error:.2g} of the largest from those "
                f"of the uploaded one without the removed units; at most {proof.tolerance:.2g} would be rounding.",
                remedy="This is a mistake of Secateur. Exclude groups until it holds, or prune single weights.",
                proof=shown,
            )
        return proof

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


def _require_numbers(whole: Program, proof: dict[str, Any]) -> None:
    """Raises ProofFailed where the program holds what no network computes with; -inf may be a mask."""
    state = dict(named_tensors(whole.module))
    broken = [name for name, tensor in state.items() if bool((tensor.isnan() | tensor.isposinf()).any())]
    if broken:
        raise ProofFailed(
            f"Nothing can be proved: there are infinite numbers or none at all in {named(broken)}.",
            remedy="Upload a network of finite numbers; if they became infinite in training, lower the learning rate.",
            proof=proof,
        )
