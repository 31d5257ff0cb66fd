"""What a job tells while it runs: stages, numbers, notes and progress. Notes and times also go into the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from secateur.report import finite
from secateur.spec import JobSpec
from secateur.states import Stage
from worker.agenda import round_of, sessions
from worker.ledger import Ledger
from worker.order import Advanced, AnyMessage, Measured, Noted, Staged
from worker.recovery.objective import Score
from worker.recovery.train import Moment

SECONDS_BETWEEN_PROGRESS = 0.5
BEFORE_ROUNDS = 0.05
ROUNDS = 0.9

Say = Callable[[AnyMessage], None]


class Narration:
    """Speaks for one attempt; `ledger` may be exchanged when a checkpoint is loaded."""

    def __init__(self, say: Say, spec: JobSpec, ledger: Ledger) -> None:
        self.say = say
        self.ledger = ledger
        self._sessions = list(sessions(spec))
        self._said_s = 0.0

    @contextmanager
    def stage(self, stage: Stage, number: int = 0) -> Iterator[None]:
        """Everything inside belongs to this stage, and its time is the stage's."""
        self.say(Staged(stage=stage, round=number))
        with self.ledger.timed(stage):
            yield

    def note(self, sentence: str) -> None:
        """Something that a reader of the report should know; said once."""
        if self.ledger.note(sentence):
            self.say(Noted(message=sentence))

    def score(self, when: str, metric: str, on: str, score: Score, **more: Any) -> None:
        """A measurement: when in the life of the job, of what, on which data."""
        self.say(Measured(data={"when": when, **more, "metric": metric, "on": on, "value": finite(score.value)}))

    def step(self, moment: Moment) -> None:
        """A step of training is done; told twice a second at most."""
        if not self._takes_turn():
            return
        data = {
            "round": round_of(moment.round_index),
            "epoch": moment.epoch,
            "epochs": moment.epochs,
            "loss": moment.loss(),
        }
        self.say(Advanced(fraction=self._fraction(moment), data=data))

    def probed(self, name: str, done: int, parts: int) -> None:
        """One layer or group more is measured by itself; told twice a second at most."""
        if not self._takes_turn() and done < parts:
            return
        whole = BEFORE_ROUNDS if self._sessions else BEFORE_ROUNDS + ROUNDS
        self.say(Advanced(fraction=whole * done / parts, data={"layer": name, "layers": f"{done} of {parts}"}))

    def _takes_turn(self) -> bool:
        """Whether it is time to tell of progress again; then it is told."""
        now = time.monotonic()
        if now - self._said_s < SECONDS_BETWEEN_PROGRESS:
            return False
        self._said_s = now
        return True

    def _fraction(self, moment: Moment) -> float:
        """Trainings weigh as many epochs as they have; what comes before and after all of them is a twentieth each."""
        weights = [max(session.epochs, 1) for session in self._sessions]
        here = [session.index for session in self._sessions].index(moment.round_index)
        done = sum(weights[:here]) + weights[here] * moment.step / max(moment.steps, 1)
        return BEFORE_ROUNDS + ROUNDS * done / sum(weights)
