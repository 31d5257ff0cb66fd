"""The training of one round: epochs over the data, the best of them kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from secateur.errors import Diverged, EmptyDataset
from worker.recovery.best import Best, tensors_of
from worker.recovery.course import Course, Guard, Trainable
from worker.recovery.evaluate import evaluate
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Score
from worker.recovery.order import permutation
from worker.recovery.state import TrainState, pack, restore_tensors
from worker.recovery.stepper import Stepper


@dataclass(frozen=True)
class Moment:
    """Between two steps: where training stands. `state()` is what a checkpoint stores, at once."""

    round_index: int
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: Callable[[], float]
    state: Callable[[], TrainState]


@dataclass(frozen=True)
class Outcome:
    """What a round of training brought, on the validation data.

    `best_epoch` is the one whose weights the program has now, 0 for those from before. `state` goes into the next
    round, which takes the optimizer's memory from it unless that is reset.
    """

    pruned: Score
    recovered: Score
    best_epoch: int
    epochs: int
    state: TrainState


def fine_tune(
    program: Trainable,
    course: Course,
    guard: Guard,
    round_index: int,
    epochs: int,
    state: TrainState | None = None,
    on_step: Callable[[Moment], None] | None = None,
    on_epoch: Callable[[Moment, Score], None] | None = None,
) -> Outcome:
    """Trains the pruned `program` in place for `epochs` and leaves it, in evaluation mode, at its best epoch.

    The best epoch has the best validation metric, then the lowest validation loss, then came first; the weights from
    before count. Parameters and buffers (the statistics of batch norm) are put back. All floating-point parameters
    are trained, frozen or not in the upload; those without a gradient stay as they are.

    `state` from the same round resumes it bit for bit, from the round before it hands over the optimizer. The order of
    the examples depends on (seed, round, epoch), random operators on (seed, round, step): neither on what ran before.

    Raises Diverged, OutOfMemory, EmptyDataset, DataMismatch.
    """
    if len(course.train) == 0:
        raise EmptyDataset("The training data holds no examples.")
    with memory_errors():
        stepper = _stepper(program, course, round_index, epochs, state)
        with stepper.guarded(guard):
            return _Round(program, course, stepper, round_index, epochs, state).run(on_step, on_epoch)


def _stepper(program: Trainable, course: Course, round_index: int, epochs: int, state: TrainState | None) -> Stepper:
    """The stepper of a round, as the state leaves it; the program's tensors are set too when it is of this round."""
    resumed = state is not None and state.round_index == round_index
    if state is not None and resumed:
        restore_tensors(tensors_of(program), state.part("program"))
    stepper = Stepper(program, course, round_index, epochs * course.batches())
    if state is not None and resumed:
        stepper.resume(state)
    elif state is not None and not course.spec.reset_optimizer:
        stepper.inherit(state)
    return stepper


class _Round:
    """One round under way: `scored` epochs are behind it, their best is kept."""

    def __init__(
        self,
        program: Trainable,
        course: Course,
        stepper: Stepper,
        round_index: int,
        epochs: int,
        state: TrainState | None,
    ) -> None:
        self.program, self.course, self.stepper = program, course, stepper
        self.round_index, self.epochs = round_index, epochs
        if state is not None and state.round_index == round_index:
            self._resume(state)
        else:
            self._begin()

    def _begin(self) -> None:
        self.scored = 0
        self.pruned = self._evaluate()
        self.best = Best.before(self.program, self.pruned, self.course.objective.higher_is_better)

    def _resume(self, state: TrainState) -> None:
        best = state.facts["best"]
        tensors = {name: tensor.to(self.course.device) for name, tensor in state.part("best").items()}
        self.scored, self.pruned = state.facts["scored"], Score(**state.facts["pruned"])
        self.best = Best(Score(**best["score"]), best["epoch"], tensors, self.course.objective.higher_is_better)

    def run(
        self, on_step: Callable[[Moment], None] | None, on_epoch: Callable[[Moment, Score], None] | None
    ) -> Outcome:
        if self.best is None:
            self._begin()
        while self.scored < self.epochs:
            self._train_epoch(on_step)
            score = self._evaluate()
            if not math.isfinite(score.loss):
                raise Diverged(f"The validation loss is not finite after epoch {self.scored + 1} of {self.epochs}.")
            self.scored += 1
            self.best.offer(self.program, score, self.scored)
            if on_epoch is not None:
                on_epoch(self._moment(self.scored), score)
        self.best.put_back(self.program)
        self.program.set_training(False)
        left = TrainState(pack(optimizer=self.stepper.moments()), {"round": self.round_index})
        return Outcome(self.pruned, self.best.score, self.best.epoch, self.epochs, left)

    def _train_epoch(self, on_step: Callable[[Moment], None] | None) -> None:
        train, size, batches = self.course.train, self.course.spec.batch_size, self.course.batches()
        epoch = self.scored + 1
        order = permutation(len(train), self.course.seed, self.round_index, epoch)
        self.program.set_training(True)
        for batch in range(self.stepper.step - self.scored * batches, batches):
            self.stepper.take(*train.batch(order[batch * size : (batch + 1) * size]))
            if on_step is not None:
                on_step(self._moment(epoch))
        self.stepper.check()

    def _evaluate(self) -> Score:
        course = self.course
        return evaluate(self.program, course.validation, course.objective, course.spec.batch_size, course.device)

    def _moment(self, epoch: int) -> Moment:
        stepper = self.stepper
        return Moment(self.round_index, epoch, self.epochs, stepper.step, stepper.steps, stepper.loss, self._state)

    def _state(self) -> TrainState:
        self.stepper.check()
        tensors = pack(
            program=tensors_of(self.program),
            best=self.best.tensors,
            masters=self.stepper.masters.copies,
            optimizer=self.stepper.moments(),
        )
        scores = {"pruned": asdict(self.pruned), "best": self.best.facts(), "scored": self.scored}
        return TrainState(tensors, {"round": self.round_index, **self.stepper.facts(), **scores})
