"""Which round comes next, how much it takes, how long it trains, and whether what it left is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from secateur.report import SHARES, BudgetSearch, MetricName, Round
from secateur.spec import JobSpec
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.training import Training
from worker import agenda
from worker.agenda import Session
from worker.pruning.schedules import amounts
from worker.recovery.objective import Score
from worker.search import Trial, affordable, next_amount

Enough = Callable[[int, Score], bool]
"""(epochs trained, the best score so far) -> whether the training of a round may end."""


@dataclass(frozen=True)
class Step:
    """One round. `amount` is the share to be gone after it; None: what the schedule says."""

    number: int
    session: Session | None
    amount: float | None = None
    last: bool = False
    """Whether it may be the last one, so that its numbers are those of the report."""
    takes: bool = True
    """Whether anything is taken; if not, what the last round left trains on, to the end."""


class Plan(Protocol):
    """The rounds of a job; the next one follows from those that are done, so that a resumed job goes on with it."""

    @property
    def searches(self) -> bool:
        """Whether a round may be undone."""

    def next(self, rounds: Sequence[Round]) -> Step | None:
        """The round after these; None when there is none."""

    def enough(self, trained: int, best: Score) -> bool:
        """Whether a round may end before its time."""

    def keeps(self, recovered: Score) -> bool:
        """Whether the network that a round left on the validation data is what the next one starts from."""


class Schedule:
    """The rounds that the spec names, each kept."""

    searches = False

    def __init__(self, spec: JobSpec) -> None:
        self._recover, self._rounds = spec.recover, spec.prune.rounds

    def next(self, rounds: Sequence[Round]) -> Step | None:
        number = len(rounds) + 1
        if number > self._rounds:
            return None
        recover = self._recover
        session = agenda.after_round(recover, number, self._rounds) if isinstance(recover, Training) else None
        return Step(number, session, last=number == self._rounds)

    def enough(self, trained: int, best: Score) -> bool:
        return False

    def keeps(self, recovered: Score) -> bool:
        return True


class Budget:
    """A search for the smallest network that is at most so much worse than the dense one."""

    searches = True

    def __init__(self, spec: JobSpec, metric: MetricName, higher_is_better: bool, dense: Score, most: float) -> None:
        """`dense` is the dense network's score on the validation data, `most` the largest amount to try."""
        target, prune, recover = spec.prune.target, spec.prune, spec.recover
        assert isinstance(target, MaxAccuracyDrop)
        self.dense, self.bound = dense.value, bound(dense.value, target.amount, metric, higher_is_better)
        self._higher_is_better, self._rounds = higher_is_better, prune.rounds
        self._ladder = amounts(prune.rounds, most, curve=getattr(prune.schedule, "curve", "one_shot"))
        self._recover = recover if isinstance(recover, Training) else None
        epochs = [session.epochs for session in agenda.rounds(recover, prune.rounds)]
        self.single, self._least = sum(epochs), min(epochs, default=0)

    def next(self, rounds: Sequence[Round]) -> Step | None:
        """An amount that nothing is known about, if there is one and its training can be afforded; at last, training.

        A trial ends with the first epoch that is good enough, which may be a lucky one. So what is found trains on as
        a last round does, for which the search leaves as many epochs as it needs.
        """
        trials = [Trial(each.amount, each.kept) for each in rounds if each.amount is not None]
        amount, number = next_amount(self._ladder, trials), len(rounds) + 1
        session = None if self._recover is None else agenda.trial(self._recover, number, self._rounds)
        costs = 0 if session is None else session.epochs
        after = costs if costs > self._least else 0
        if len(trials) < len(rounds):
            return None
        if amount is not None and affordable(self.single, sum(each.epochs for each in rounds) + after, costs):
            return Step(number, session, amount, last=True)
        kept = [each for each in rounds if each.kept]
        return Step(number, session, takes=False) if after and kept and kept[-1].epochs < costs else None

    def found(self, rounds: Sequence[Round]) -> float | None:
        """The largest amount that was kept; None: nothing was."""
        return max((each.amount for each in rounds if each.kept and each.amount is not None), default=None)

    def told(self, rounds: Sequence[Round]) -> str:
        """What a reader of the report should know of the search."""
        found = self.found(rounds)
        if found is None or not any(each.gone for each in rounds if each.kept):
            return "No smaller network within the budget was found: what is handed over is the dense one."
        if found >= self._ladder[-1]:
            return f"The search ended at the most that it was to take, {found:.1%}: the budget allows more."
        trials = self._trials(rounds)
        return f"The search took {found:.1%} in {'one trial' if trials == 1 else f'{trials} trials'}."

    def findings(self, rounds: Sequence[Round]) -> BudgetSearch:
        """The field of the report."""
        kept = [each for each in rounds if each.kept]
        return BudgetSearch(
            dense=self.dense,
            bound=self.bound,
            found=kept[-1].recovered if kept else self.dense,
            trials=self._trials(rounds),
            epochs=sum(each.epochs for each in rounds),
            epochs_of_one_job=self.single,
        )

    def _trials(self, rounds: Sequence[Round]) -> int:
        return sum(each.amount is not None for each in rounds)

    def enough(self, trained: int, best: Score) -> bool:
        """As soon as the network is good enough, but not before a usual round would end."""
        return trained >= self._least and self.keeps(best)

    def keeps(self, recovered: Score) -> bool:
        if not math.isfinite(recovered.value):
            return False
        return recovered.value >= self.bound if self._higher_is_better else recovered.value <= self.bound


def bound(dense: float, drop: float, metric: MetricName, higher_is_better: bool) -> float:
    """The worst metric that a drop allows: in absolute terms of a share, relative to the dense one of all others.

    A network that has just this metric is allowed: rounding in its last digits costs nothing.
    """
    far = drop if metric in SHARES else drop * abs(dense)
    slack = 1e-12 * max(1.0, abs(dense))
    return dense - far - slack if higher_is_better else dense + far + slack
