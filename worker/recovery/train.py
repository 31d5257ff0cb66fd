"""The training of one round: epochs over the data, the best of them kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.errors import Diverged, EmptyDataset
from worker.recovery.best import Best, tensors_of
from worker.recovery.course import Course, Guard, Trainable
from worker.recovery.evaluate import evaluate
from worker.recovery.extent import Extent
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Score
from worker.recovery.order import permutation
from worker.recovery.state import TrainState, pack, restore_tensors
from worker.recovery.stepper import Batch, Stepper
from worker.recovery.transforms import Draws


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

    `epochs` were trained; `best_epoch` is the one whose weights the program has now, 0 for those from before. `state`
    goes into the next round: it holds the optimizer's memory, and no tensor where that is reset.
    """

    recovered: Score
    epochs: int
    best_epoch: int
    state: TrainState


def fine_tune(
    program: Trainable,
    course: Course,
    guard: Guard,
    round_index: int,
    epochs: int,
    state: TrainState | None = None,
    *,
    before: int = 0,
    pruned: Score | None = None,
    enough: Callable[[int, Score], bool] | None = None,
    on_step: Callable[[Moment], None] | None = None,
    on_epoch: Callable[[Moment, Score], None] | None = None,
) -> Outcome:
    """Trains the pruned `program` in place for `epochs` and leaves it, in evaluation mode, at its best epoch.

    The best epoch has the best validation metric, then the lowest validation loss, then came first; the weights from
    before count. Parameters and buffers (the statistics of batch norm) are put back. All floating-point parameters
    are trained, frozen or not in the upload; those without a gradient stay as they are. With `patience` it ends as soon
    as so many epochs in a row were no better than the best, be that the weights from before.

    `before` says how many epochs of the learning rate's curve are behind the first one: none of a whole training.
    `enough` hears how many epochs are trained and the best score, and may end the round.
    `pruned` is the score of the weights from before; without it they are evaluated first. `state` from the same round
    resumes it bit for bit, from the round before it hands over the optimizer; it is let go before training begins. The
    order of the examples depends on (seed, round, epoch), random operators on (seed, round, step): neither on what ran
    before.

    Raises Diverged, OutOfMemory, EmptyDataset, DataMismatch.
    """
    if len(course.train) == 0:
        raise EmptyDataset("The training data holds no examples.")
    with memory_errors():
        stepper = _stepper(program, course, round_index, epochs, before, state)
        with stepper.guarded(guard):
            run = _Round(program, course, stepper, round_index, epochs)
            if state is not None and state.round_index == round_index:
                run.resume(state)
            else:
                run.begin(pruned)
            del state  # or its tensors would stay in memory for as long as the round takes
            return run.train(enough or never, on_step, on_epoch)


def never(trained: int, best: Score) -> bool:
    """No score ends a round."""
    return False


def _stepper(
    program: Trainable, course: Course, round_index: int, epochs: int, before: int, state: TrainState | None
) -> Stepper:
    """The stepper of a round, as the state leaves it; the program's tensors are set too when it is of this round."""
    resumed = state is not None and state.round_index == round_index
    if state is not None and resumed:
        restore_tensors(tensors_of(program), state.part("program"))
    stepper = Stepper(program, course, round_index, epochs * course.steps(), before * course.steps())
    if state is not None and resumed:
        stepper.resume(state)
    elif state is not None and not course.spec.reset_optimizer:
        stepper.inherit(state)
    return stepper


class _Round:
    """One round under way: `scored` epochs are behind it, their best is kept."""

    scored: int
    best: Best

    def __init__(self, program: Trainable, course: Course, stepper: Stepper, round_index: int, epochs: int) -> None:
        self.program, self.course, self.stepper = program, course, stepper
        self.round_index, self.epochs = round_index, epochs

    def begin(self, pruned: Score | None) -> None:
        self.scored = 0
        score = self._evaluate() if pruned is None else pruned
        self.best = Best.before(self.program, score, self.course.objective.higher_is_better)

    def resume(self, state: TrainState) -> None:
        best = state.facts["best"]
        tensors = {name: tensor.to(self.course.device) for name, tensor in state.part("best").items()}
        self.scored = state.facts["scored"]
        self.best = Best(Score(**best["score"]), best["epoch"], tensors, self.course.objective.higher_is_better)

    def train(
        self,
        enough: Callable[[int, Score], bool],
        on_step: Callable[[Moment], None] | None,
        on_epoch: Callable[[Moment, Score], None] | None,
    ) -> Outcome:
        while self.scored < self.epochs and not self._stalled() and not enough(self.scored, self.best.score):
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
        moments = {} if self.course.spec.reset_optimizer else self.stepper.moments()
        left = TrainState(pack(optimizer=moments), {"round": self.round_index})
        return Outcome(self.best.score, self.scored, self.best.epoch, left)

    def _stalled(self) -> bool:
        """Whether patience is at its end: it follows from what is kept anyway."""
        patience = self.course.spec.patience
        return patience is not None and self.scored - self.best.epoch >= patience

    def _train_epoch(self, on_step: Callable[[Moment], None] | None) -> None:
        train, steps = self.course.train, self.course.steps()
        epoch = self.scored + 1
        key = self.course.seed, self.round_index, epoch
        order, draws = permutation(len(train), *key), train.draws(*key)
        self.program.set_training(True)
        for step in range(self.stepper.step - self.scored * steps, steps):
            group = [order[part] for part in self.course.group(step)]
            targets = [train.targets(part) for part in group]
            whole = Extent.of(self.course.objective, targets)
            self.stepper.take(partial(self._batches, group, targets, draws), whole)
            if on_step is not None:
                on_step(self._moment(epoch))
        self.stepper.check()

    def _batches(self, group: list[NDArray[np.int64]], targets: list[torch.Tensor], draws: Draws) -> Iterator[Batch]:
        """The batches of a step, each read when it is wanted."""
        for rows, target in zip(group, targets, strict=True):
            yield self.course.train.inputs(rows, draws), target

    def _evaluate(self) -> Score:
        course = self.course
        return evaluate(
            self.program,
            course.validation,
            course.objective,
            course.portion,
            course.device,
            note=course.note,
            teacher=course.teacher,
        )

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
        scores = {"best": self.best.facts(), "scored": self.scored}
        return TrainState(tensors, {"round": self.round_index, **self.stepper.facts(), **scores})
