"""How much each class weighs in the training loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.errors import DataMismatch
from secateur.inspection import TensorInfo
from secateur.spec.task import IGNORED_LABEL, Task
from secateur.targets import classes_of
from worker.recovery.data import Subset
from worker.recovery.objective import Objective, objective_for, position_of
from worker.recovery.objectives.cross_entropy import CrossEntropy, require_range
from worker.recovery.objectives.tensors import require_labels

LABELS_AT_ONCE = 1 << 20


def weighed(task: Task, outputs: Sequence[TensorInfo], train: Subset) -> Objective:
    """The objective of a task, with the class weights that it asks for; balanced ones follow from `train`.

    Raises DataMismatch and LabelsOutOfRange where the weights or the labels are not those of the output's classes.
    """
    objective = objective_for(task, outputs)
    asked = getattr(task, "class_weights", None)
    if asked is None or not isinstance(objective, CrossEntropy):
        return objective
    classes = classes_of(task, outputs[position_of(task.output, [output.name for output in outputs])])
    if classes is None or (asked != "balanced" and len(asked) != classes):
        raise DataMismatch(f"The class weights do not fit an output of {classes or 'any number of'} classes.")
    return replace(objective, weights=balanced(objective, classes, train) if asked == "balanced" else asked)


def balanced(objective: CrossEntropy, classes: int, train: Subset) -> tuple[float, ...]:
    """Labels over classes over labels of the class, as scikit-learn's `compute_class_weight` has it.

    Only labels that count and classes that occur are counted; a class that does not occur weighs nothing.
    """
    counts = _counts(objective, classes, train)
    require_labels(counts.sum())
    each = counts.sum() / max(np.count_nonzero(counts), 1)
    return tuple(each / count if count else 0.0 for count in counts.tolist())


def _counts(objective: CrossEntropy, classes: int, train: Subset) -> NDArray[np.int64]:
    """How often each class is a label in `train`."""
    step = max(1, LABELS_AT_ONCE // max(1, math.prod(train.dataset.target_shape[1:])))
    counts = torch.zeros(classes, dtype=torch.int64)
    for start in range(0, len(train), step):
        labels = objective.places(train.targets(np.arange(start, min(start + step, len(train)))))
        labels = labels[labels != IGNORED_LABEL]
        require_range(labels, classes)
        counts += torch.bincount(labels, minlength=classes)
    return counts.numpy()
