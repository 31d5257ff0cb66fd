"""The loss of a batch: that of the task, and what the dense network adds to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from secateur.errors import BadFeature
from secateur.spec.distill import Distill
from secateur.spec.training import Training
from worker.recovery.extent import Extent
from worker.recovery.objective import Objective
from worker.recovery.teacher import Answer, Teacher


@dataclass(frozen=True)
class Lesson:
    """What a step of training makes smaller, as secateur.spec.distill.Distill has it.

    Without `distill` in the spec, or without a teacher, that is the loss of the task.
    """

    spec: Training
    objective: Objective
    teacher: Teacher | None = None

    def loss(self, target: Tensor, given: Answer, dense: Answer | None, share: Extent) -> Tensor | None:
        """What a batch adds to the loss of its step, in float32 or wider; None where there is nothing in it to learn.

        `given` is what the network that is trained made of the batch, `dense` what the teacher did. Each part of the
        loss is a mean over the step, of which the batch has a `share`: that of the task over labels as their classes
        weigh, the distance to the dense outputs over labels that are all worth the same, features over examples.
        """
        distill = self.spec.distill
        if distill is None or dense is None or self.teacher is None:
            parts = self._of_task(target, given, share.weight)
        else:
            parts = self._taught(distill, self.teacher, target, given, dense, share)
        found = list(parts)
        return sum(found[1:], found[0]) if found else None

    def _taught(
        self, distill: Distill, teacher: Teacher, target: Tensor, given: Answer, dense: Answer, share: Extent
    ) -> Iterator[Tensor]:
        """A part of weight 0 is not computed."""
        yield from self._of_task(target, given, (1 - distill.weight) * share.weight)
        if distill.weight * share.labels > 0:
            ours, theirs = (self.objective.select(answer.outputs) for answer in (given, dense))
            distance = self.objective.distance(ours, theirs, target, distill.temperature)
            yield distill.weight * share.labels * distance
        if teacher.features:
            far = strangeness(teacher, given.features, dense.features)
            yield distill.feature_weight * share.examples * far

    def _of_task(self, target: Tensor, given: Answer, factor: float) -> Iterator[Tensor]:
        if factor > 0:
            output = self.objective.select(given.outputs)
            yield self.objective.loss(output, target, self.spec.label_smoothing) * factor


def strangeness(teacher: Teacher, given: Sequence[Tensor], dense: Sequence[Tensor]) -> Tensor:
    """How far features are from the dense network's: the mean over them of MSE / the mean square of the dense ones."""
    parts = []
    for name, scale, ours, theirs in zip(teacher.features, teacher.scales, given, dense, strict=True):
        if ours.shape != theirs.shape:
            raise BadFeature(
                f"The node {name!r} gives {tuple(ours.shape)} in the pruned network, and {tuple(theirs.shape)} is left "
                "of it in the dense one: they cannot be compared."
            )
        parts.append(functional.mse_loss(ours.float(), theirs.float()) / scale)
    return torch.stack(parts).mean()
