"""What a network is trained for and judged by: the objective of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.errors import DataMismatch
from secateur.inspection import TensorInfo
from secateur.spec.task import Task
from worker.recovery.objectives.classification import ClassificationObjective
from worker.recovery.objectives.contract import Objective, Score
from worker.recovery.objectives.regression import RegressionObjective

__all__ = ["TASKS", "ClassificationObjective", "Objective", "RegressionObjective", "Score", "objective_for"]


def _classification(position: int, output: TensorInfo) -> Objective:
    return ClassificationObjective(position, output.ends_in or "logits")


def _regression(position: int, output: TensorInfo) -> Objective:
    return RegressionObjective(position)


TASKS: dict[str, Callable[[int, TensorInfo], Objective]] = {
    "classification": _classification,
    "regression": _regression,
}


def objective_for(task: Task, outputs: Sequence[TensorInfo]) -> Objective:
    """The objective of `task` for a program with these outputs, in the order of its flattened result.

    Raises DataMismatch when the scored output is not there, or is not named where there are several.
    """
    position = _position(task.output, [output.name for output in outputs])
    return TASKS[task.kind](position, outputs[position])


def _position(wanted: int | str | None, names: list[str]) -> int:
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
