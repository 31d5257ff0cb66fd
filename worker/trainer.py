"""The trainings of one attempt: each goes on where a checkpoint found it, tells how it goes, and is saved in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from secateur.spec.training import Training
from worker.agenda import Session, round_of
from worker.bench import Bench
from worker.methods.method import Network
from worker.narration import Narration
from worker.plan import Enough
from worker.program.program import Program
from worker.pruning.masked import Masked
from worker.recovery.course import Course
from worker.recovery.objective import Score
from worker.recovery.recalibrate import recalibrate
from worker.recovery.state import TrainState
from worker.recovery.train import Moment, Outcome, fine_tune

T = TypeVar("T")
EpochEnded = Callable[[int], None]
"""Hears the number of each epoch that was trained, counted from 1, while the program stands as it left it."""


class Trainer:
    """Trains networks by the job's recipe. `state` is where a training stands, or what the last one left."""

    def __init__(self, bench: Bench, narration: Narration, every_s: float, pause_asked: Callable[[], bool]) -> None:
        """`every_s` is the longest time between two checkpoints."""
        self._bench, self._narration, self._every_s, self._pause_asked = bench, narration, every_s, pause_asked
        self._saved_s = time.monotonic()
        self.state: TrainState | None = None
        self.save: Callable[[], None] = lambda: None

    def train(
        self,
        network: Network,
        session: Session,
        pruned: Score | None = None,
        *,
        enough: Enough | None = None,
        on_epoch: EpochEnded | None = None,
    ) -> Outcome:
        """Train in place; see `fine_tune`. Raises what that does, and PauseAsked."""

        def ended(moment: Moment, score: Score) -> None:
            self._tell(moment, score)
            if on_epoch is not None:
                on_epoch(moment.epoch)

        outcome = fine_tune(
            network.program,
            self._course(network),
            lambda weights, optimizer: Masked(weights, network.masks, optimizer),
            session.index,
            session.epochs,
            self._handed_over(),
            before=session.before,
            pruned=pruned,
            enough=enough,
            on_step=self._stepped,
            on_epoch=ended,
        )
        self.state = outcome.state
        return outcome

    def recalibrate(self, program: Program, number: int, recovered: Score) -> tuple[Score, bool | None]:
        """Take the statistics of batch norm anew, where that is asked for; see `recalibrate`. Raises PauseAsked."""
        work, note = self._bench, self._narration.note
        batches = work.spec.recover.recalibration_batches
        if batches == 0:
            return recovered, None
        return recalibrate(
            program,
            self._pausing(work.samples(batches, number)),
            work.device,
            lambda: work.score(program, work.validation, lambda *_: self.pause_if_asked(), note),
            recovered,
            work.objective.higher_is_better,
            note,
        )

    def saved(self) -> None:
        """A checkpoint was written just now."""
        self._saved_s = time.monotonic()

    def save_if_due(self) -> None:
        """Write a checkpoint, where it is time for one, or the worker is to stop. Raises PauseAsked."""
        if self._due:
            self.save()
            self.pause_if_asked()

    @property
    def _due(self) -> bool:
        return time.monotonic() - self._saved_s > self._every_s or self._pause_asked()

    def pause_if_asked(self) -> None:
        """Raise PauseAsked when the worker is to stop."""
        if self._pause_asked():
            raise PauseAsked

    def _pausing(self, batches: Iterator[T]) -> Iterator[T]:
        for batch in batches:
            self.pause_if_asked()
            yield batch

    def _handed_over(self) -> TrainState | None:
        """Where training stands, for its taker alone: its tensors are not kept while the round goes on."""
        state, self.state = self.state, None
        return state

    def _course(self, network: Network) -> Course:
        work, recover = self._bench, self._bench.spec.recover
        assert isinstance(recover, Training)
        at_once, note = work.inspection.batch.maximum, self._narration.note
        if at_once is not None and at_once < recover.batch_size:
            note(
                f"The model takes at most {at_once} examples at once: each batch of {recover.batch_size} went through "
                "it in parts, which weigh as the whole."
            )
        teacher = None if work.teacher is None else work.teacher.of_what_is_left(network.left_of)
        seed, device = work.spec.seed, work.device
        return Course(work.train, work.validation, work.objective, recover, seed, device, at_once, note, teacher)

    def _stepped(self, moment: Moment) -> None:
        self._narration.step(moment)
        if self._due:
            self.state = moment.state()
            self.save_if_due()

    def _tell(self, moment: Moment, score: Score) -> None:
        at = {"round": round_of(moment.round_index), "epoch": moment.epoch, "epochs": moment.epochs}
        self._narration.score("epoch", self._bench.objective.metric, "validation", score, **at)


class PauseAsked(Exception):
    """The worker is to stop; the newest checkpoint is written."""
