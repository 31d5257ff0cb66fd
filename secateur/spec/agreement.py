"""What the parts of a job spec must agree on: a rule for each that would make no sense beside another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from secateur.spec.distill import Distill
from secateur.spec.finalize import Finalize
from secateur.spec.importance import Movement, Snip, Taylor
from secateur.spec.prune import Prune
from secateur.spec.recover import Recover
from secateur.spec.rewinding import LotteryTicket
from secateur.spec.structured import PruneUnits
from secateur.spec.task import DistillationOnly, Regression
from secateur.spec.training import Training

Parts = Mapping[str, Any]
"""The parts of the spec before the one that is judged, as far as they are valid."""


def a_slope_to_gather(prune: Prune, before: Parts) -> None:
    """Raises ValueError where an importance is gathered from gradients that are not there."""
    importance = prune.importance
    if isinstance(before.get("task"), DistillationOnly) and isinstance(importance, Taylor | Snip | Movement):
        others = "l2, l1 or geometric_median" if isinstance(prune, PruneUnits) else "l1, lamp or wanda"
        raise ValueError(
            f"importance {importance.kind} is gathered from gradients of the loss; that of distillation_only is "
            f"the distance to the dense network, and has none at that network, where pruning begins: take {others}"
        )


def classes_to_smooth_over(recover: Recover, before: Parts) -> None:
    """Raises ValueError where labels are numbers and are to be smoothed."""
    smoothed = isinstance(recover, Training) and recover.label_smoothing > 0
    if smoothed and isinstance(before.get("task"), Regression):
        raise ValueError(
            "label_smoothing spreads labels over classes, and the targets of a regression have none: leave it at 0"
        )


def training_for_the_weights(recover: Recover, before: Parts) -> None:
    """Raises ValueError where classes have weights and nothing is trained."""
    if not isinstance(recover, Training) and getattr(before.get("task"), "class_weights", None) is not None:
        raise ValueError(
            f"task.class_weights are for training, and recover {recover.kind} trains nothing: leave them out"
        )


def rounds_to_control(recover: Recover, before: Parts) -> None:
    """Raises ValueError where controls are asked for of rounds that nobody knows before."""
    searches = getattr(before.get("prune"), "searches", False)
    if searches and isinstance(recover, LotteryTicket) and recover.controls != "none":
        raise ValueError(
            "a search (max_accuracy_drop) tries amounts that nobody knows before, so its rounds have no controls: "
            "set controls to none, or ask for the sparsity that the search found"
        )


def something_to_learn(recover: Recover, before: Parts) -> None:
    """Raises ValueError where distillation has no teacher yet, or fields that mean nothing for its task."""
    task = before.get("task")
    if not isinstance(recover, Training) or task is None:
        return
    if isinstance(task, DistillationOnly):
        _a_teacher_and_no_labels(recover)
    distill, taught = recover.distill, isinstance(task, DistillationOnly)
    numbers = isinstance(task, Regression) or (isinstance(task, DistillationOnly) and task.like == "regression")
    if distill is None or not numbers:
        return
    if distill.temperature != Distill().temperature:
        raise ValueError("distill.temperature softens scores of classes, and numbers have none: leave it out")
    if taught and not distill.features:
        raise ValueError(
            "distillation_only of numbers has no other loss than the distance to the dense network's: leave "
            "distill out, or name features"
        )


def _a_teacher_and_no_labels(recover: Training) -> None:
    if isinstance(recover, LotteryTicket) and recover.trains_dense:
        raise ValueError(
            "distillation_only learns from the dense network, which this lottery_ticket is yet to train: give the "
            "trained network as model and its initialisation as recover.initial"
        )
    if recover.label_smoothing > 0:
        raise ValueError("label_smoothing spreads labels, and distillation_only has none: leave it at 0")


def no_masks_of_units(finalize: Finalize, before: Parts) -> None:
    """Raises ValueError where masks are to be handed over and there are none."""
    if "checkpoint" in finalize.artifacts and isinstance(before.get("prune"), PruneUnits):
        raise ValueError(
            "the artifact checkpoint holds weights and their masks; units are removed whole and have none: "
            "ask for pt2 and safetensors"
        )


def half_floats_for_cuda(device: str, before: Parts) -> None:
    """Raises ValueError where a precision needs another device than the one that is asked for."""
    if device == "cpu" and getattr(before.get("recover"), "precision", "full") == "fp16":
        raise ValueError("recover.precision fp16 needs a CUDA device: ask for bf16 or full, or for device cuda")


def nothing_to_recover(recover: Recover, before: Parts) -> None:
    """Raises ValueError where nothing is taken, and yet something is to be trained."""
    if isinstance(recover, Training) and getattr(before.get("prune"), "measures", False):
        raise ValueError(
            f"the target sensitivity takes nothing and trains nothing, so there is nothing for {recover.kind} to do: "
            'set recover to {"kind": "none"}'
        )


RULES: Mapping[str, tuple[Callable[[Any, Parts], None], ...]] = {
    "prune": (a_slope_to_gather,),
    "recover": (
        nothing_to_recover,
        classes_to_smooth_over,
        training_for_the_weights,
        rounds_to_control,
        something_to_learn,
    ),
    "finalize": (no_masks_of_units,),
    "device": (half_floats_for_cuda,),
}
"""By the field that is told to be wrong: it stands behind those that it has to agree with."""
