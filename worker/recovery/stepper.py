"""One step of training: forward and backward for each of its batches, one update, with pruned weights kept at zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grad_norm_

from secateur.errors import DataMismatch, Diverged, JobFailed, OutOfMemory
from worker.recovery.autocast import autocast_dtype
from worker.recovery.course import Course, Guard, Trainable
from worker.recovery.curves import rate_at
from worker.recovery.distillation import Lesson
from worker.recovery.extent import Extent
from worker.recovery.masters import Masters
from worker.recovery.optimizer import optimizer_for, set_rate
from worker.recovery.order import seed_of
from worker.recovery.portion import Portion
from worker.recovery.running import gradient_errors, run
from worker.recovery.state import TrainState, moments_of, restore_moments, restore_tensors
from worker.recovery.statistics import Statistics
from worker.recovery.teacher import Answer

CUDA_CHECK_STEPS = 50
SMALLEST_LOSS_SCALE = 2.0**-10

Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""Inputs and targets, on the host."""


class Stepper:
    """Optimizer, masters, loss scale and step count of one round; the program is trained in place.

    The loss of float16 parameters, or of a forward pass in float16, is scaled so that small gradients are not lost; a
    step whose scaled gradients overflow is left out, as in torch.amp. The learning rate's curve has `before` steps
    behind it when the round begins.
    """

    def __init__(self, program: Trainable, course: Course, round_index: int, steps: int, before: int = 0) -> None:
        parameters = dict(program.named_parameters())
        for parameter in parameters.values():
            parameter.requires_grad_(parameter.is_floating_point())
        self._course, self._round_index, self.steps = course, round_index, steps
        self._program = program if course.teacher is None else course.teacher.student(program)
        self._lesson = Lesson(course.spec, course.objective, course.teacher)
        self._before = before
        self._parameters: dict[str, torch.Tensor] = {**parameters}
        self.masters = Masters(parameters)
        self._optimizer = optimizer_for(course.spec, self.masters.weights.values())
        self._cast = autocast_dtype(course.spec.precision, course.device, parameters.values(), course.note)
        scaled = torch.float16 in {self._cast, *(parameter.dtype for parameter in parameters.values())}
        self._portion = Portion(min(course.portion, len(course.train)), _said_of_halving, course.note)
        self._statistics = Statistics(program.module)
        self._scaler = GradScaler(course.device.type, enabled=scaled)
        self._loss_sum = torch.zeros((), device=course.device)
        self._loss: torch.Tensor = self._loss_sum
        self._norm_sum = torch.zeros((), device=course.device)
        self.step = 0

    @contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        """Keeps pruned weights at zero inside; to be entered when weights and moments are what training begins with.

        Masters are guarded too: they hold the weights, but it is their half-precision copies that get the gradients.
        """
        with ExitStack() as guards:
            guards.enter_context(guard(self.masters.weights, self._optimizer))
            if self.masters.copies:
                guards.enter_context(guard(self._parameters, None))
            yield

    def take(self, batches: Callable[[], Iterable[Batch]], whole: Extent) -> None:
        """Trains on all of `batches` as if they were one, in which there is as much as `whole` says.

        Where the memory is not enough it begins again with smaller parts of them. Raises OutOfMemory when that does
        not help, and Diverged, on CUDA up to 50 steps late.
        """
        self._statistics.keep()
        losses = self._portion.fitting(lambda: self._gradients(batches(), whole))
        if losses:
            self._update()
            self._loss = torch.stack(losses).sum()
            self._loss_sum += self._loss
        self.step += 1
        if self._course.device.type == "cpu" or self.step % CUDA_CHECK_STEPS == 0:
            self.check()

    def check(self) -> None:
        """Raises Diverged when the loss or clipped norm of any step so far was not finite. Waits for the device."""
        for what, total in (("loss", self._loss_sum), ("norm of the gradients", self._norm_sum)):
            if not math.isfinite(total.item()):
                at = f"round {self._round_index}, step {self.step} of {self.steps}"
                raise Diverged(
                    f"The {what} is no longer a finite number ({at}).",
                    remedy="Ask for a smaller learning rate, or remove less in each round.",
                )
        if self._scaler.is_enabled() and self._scaler.get_scale() < SMALLEST_LOSS_SCALE:
            raise Diverged("The gradients overflow float16 however small the loss is scaled.")

    def loss(self) -> float:
        """The loss of the last step. Waits for the device."""
        return self._loss.item()

    def moments(self) -> dict[str, torch.Tensor]:
        """What the optimizer remembers."""
        return moments_of(self._optimizer, self.masters.weights)

    def facts(self) -> dict[str, Any]:
        """Step, loss scale and how much goes through the program at once, as JSON."""
        return {"step": self.step, "scaler": self._scaler.state_dict(), "portion": self._portion.size}

    def inherit(self, state: TrainState) -> None:
        """Takes over the optimizer's memory from another round."""
        restore_moments(self._optimizer, self.masters.weights, state.part("optimizer"))

    def resume(self, state: TrainState) -> None:
        """Goes on where `state` was taken."""
        self.inherit(state)
        restore_tensors(self.masters.copies, state.part("masters"))
        self.step, self._portion.size = state.facts["step"], state.facts["portion"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state.facts["scaler"])

    def _gradients(self, batches: Iterable[Batch], whole: Extent) -> list[torch.Tensor]:
        """The losses of all parts of a step that have one; their gradients are where parameters are."""
        self.masters.clear_gradients()
        _seed(seed_of(self._course.seed, self._round_index, self.step), self._course.device)
        parts = (
            (tuple(tensor[part] for tensor in inputs), target[part])
            for inputs, target in batches
            for part in self._portion.parts(len(target))
        )
        try:
            return [loss for part in parts if (loss := self._add_gradients(*part, whole)) is not None]
        except OutOfMemory:
            self._statistics.put_back()
            raise

    def _add_gradients(
        self, inputs: tuple[torch.Tensor, ...], target: torch.Tensor, whole: Extent
    ) -> torch.Tensor | None:
        """Adds the gradients of one batch of a step; its part of the step's loss, None where it has none.

        Each label has its part in the `whole` step, however labels are spread over the batches.
        """
        objective, device = self._course.objective, self._course.device
        with self._autocast():
            teacher, result = self._course.teacher, run(self._program, inputs, device)
            self._statistics.require_numbers(len(target))
            given = Answer(result) if teacher is None else teacher.read(result)
            dense = None if teacher is None else teacher.answer(inputs)
            if objective.taught:
                assert dense is not None
                target = objective.select(dense.outputs)
            weight = objective.labels(objective.select(given.outputs), target)
            share = Extent(weight, objective.number(target), len(target)).share(whole)
            loss = self._lesson.loss(target.to(device), given, dense, share)
        if loss is None:
            return None
        if not loss.requires_grad:
            raise JobFailed("No parameter has an influence on the scored output: there is nothing to train.")
        with gradient_errors():
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.masters.take_gradients()
        return loss.detach()

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """Raises JobFailed for what goes wrong inside only because some numbers are of half precision."""
        try:
            with torch.autocast(self._course.device.type, self._cast, enabled=self._cast is not None):
                yield
        except DataMismatch as error:
            if self._cast is None:
                raise
            raise JobFailed(
                f"The program cannot be trained with precision {self._course.spec.precision}. {error.message}",
                remedy="Set recover.precision to full: the network was evaluated with it before.",
            ) from error

    def _update(self) -> None:
        set_rate(self._optimizer, rate_at(self._course.spec, self._before + self.step, self._before + self.steps))
        self._scaler.unscale_(self._optimizer)
        self._clip()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.masters.give_back()

    def _clip(self) -> None:
        if self._course.spec.clip_norm is None:
            return
        norm = clip_grad_norm_(self.masters.weights.values(), self._course.spec.clip_norm)
        if not self._scaler.is_enabled():  # the scaler has seen what overflowed, and leaves out the step
            self._norm_sum += norm


def _said_of_halving(before: int, after: int) -> str:
    return (
        f"The memory was not enough to train on {before} examples at once: batches went through the network in parts "
        f"of at most {after}. Each step is the same as before, but for batch norm, which sees every part alone."
    )


def _seed(seed: int, device: torch.device) -> None:
    # torch.manual_seed would do as well, but keeps a stack trace of every call until CUDA is used for the first time.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
