"""What a network is trained for and judged by: the objective of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from secateur.errors import DataMismatch
from secateur.inspection import TensorInfo
from secateur.spec.task import DistillationOnly, Segmentation, Task
from worker.recovery.objectives.class_means import SegmentationObjective, TokenClassificationObjective
from worker.recovery.objectives.classification import ClassificationObjective
from worker.recovery.objectives.contract import Objective, Score
from worker.recovery.objectives.cross_entropy import Ending
from worker.recovery.objectives.imitation import AgreementObjective, ImitationObjective
from worker.recovery.objectives.language import CausalLmObjective, MaskedLmObjective
from worker.recovery.objectives.regression import RegressionObjective

__all__ = ["TASKS", "ClassificationObjective", "Objective", "RegressionObjective", "Score", "objective_for"]


def _segmentation(task: Segmentation, position: int, ends_in: Ending) -> Objective:
    return SegmentationObjective(position, ends_in, ignore_label=task.ignore_label)


IMITATIONS: dict[str, Callable[[int, Ending], Objective]] = {
    "classification": AgreementObjective,
    "tokens": lambda position, ends_in: AgreementObjective(position, ends_in, class_axis=-1),
    "regression": lambda position, ends_in: ImitationObjective(position),
}
"""Of distillation_only, by what the scored output is like."""


def _imitation(task: DistillationOnly, position: int, ends_in: Ending) -> Objective:
    return IMITATIONS[task.like](position, ends_in)


TASKS: dict[str, Callable[[Any, int, Ending], Objective]] = {
    "classification": lambda _, position, ends_in: ClassificationObjective(position, ends_in),
    "regression": lambda _, position, ends_in: RegressionObjective(position),
    "causal_lm": lambda _, position, ends_in: CausalLmObjective(position, ends_in),
    "masked_lm": lambda _, position, ends_in: MaskedLmObjective(position, ends_in),
    "token_classification": lambda _, position, ends_in: TokenClassificationObjective(position, ends_in),
    "segmentation": _segmentation,
    "distillation_only": _imitation,
}


def objective_for(task: Task, outputs: Sequence[TensorInfo]) -> Objective:
    """The objective of `task` for a program with these outputs, in the order of its flattened result.

    All classes weigh the same: `balance.weighed` gives them the weights of the task. Raises DataMismatch when the
    scored output is not there, or is not named where there are several.
    """
    position = position_of(task.output, [output.name for output in outputs])
    return TASKS[task.kind](task, position, outputs[position].ends_in or "logits")


def position_of(wanted: int | str | None, names: list[str]) -> int:
    """Which of the outputs is meant. Raises DataMismatch when it is not there, or not named where there are several."""
    listed = ", ".join(repr(name) for name in names)
    if wanted is None:
        if len(names) != 1:
            raise DataMismatch(f"The program has {len(names)} outputs; name the scored one in task.output: {listed}.")
        return 0
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return wanted
    if str(wanted) not in names:
        raise DataMismatch(f"The program has no output {wanted!r}; it has {listed}.")
    return names.index(str(wanted))
