"""Whether the scored output and the labels of a data set have the form that the task needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secateur.errors import DataMismatch, InvalidSpec, LabelsOutOfRange
from secateur.findings import FLOATS, INTEGERS, mismatch, problem, same_sizes, written
from secateur.inspection import ArrayInfo, TensorInfo
from secateur.resources import Finding
from secateur.spec.task import CausalLm, DistillationOnly, Segmentation, Task

MOST_CLASSES_AVERAGED = 1024
"""A mean over classes keeps the square of their number for its standard error."""


@dataclass(frozen=True)
class Form:
    """How an output of classes is laid out: its axes in words, and which of them the classes are."""

    axes: tuple[str, ...]
    class_axis: int
    averaged: bool = False

    def holds(self, shape: tuple[int | str, ...]) -> bool:
        """Whether a shape is of this form."""
        return len(shape) >= len(self.axes) - 1 if self.axes[-1] == "..." else len(shape) == len(self.axes)


_OF_TOKENS = ("examples", "positions", "tokens")
FORMS = {
    "classification": Form(("examples", "classes", "..."), 1),
    "causal_lm": Form(_OF_TOKENS, 2),
    "masked_lm": Form(_OF_TOKENS, 2),
    "token_classification": Form(("examples", "positions", "classes"), 2, averaged=True),
    "segmentation": Form(("examples", "classes", "height", "width"), 1, averaged=True),
}
"""Of every task whose labels are integers."""
IMITATED = {"classification": FORMS["classification"], "tokens": Form(("examples", "positions", "classes"), 2)}
"""Of distillation_only, by what the output is like; numbers have no form."""


def form_of(task: Task) -> Form | None:
    """How the scored output is laid out; None where it holds no classes."""
    return IMITATED.get(task.like) if isinstance(task, DistillationOnly) else FORMS.get(task.kind)


def classes_of(task: Task, output: TensorInfo) -> int | None:
    """How many classes an output has; None where it has none, or any number."""
    form = form_of(task)
    if form is None or not form.holds(output.shape):
        return None
    classes = output.shape[form.class_axis]
    return classes if isinstance(classes, int) else None


def judge_output(task: Task, output: TensorInfo) -> Iterator[Finding]:
    """What is wrong with the scored output for this task."""
    if output.dtype not in FLOATS:
        message = f"Output {output.name!r} is {output.dtype}; only floating-point outputs can be scored."
        yield problem(DataMismatch.code, "/task/output", message)
        return
    form = form_of(task)
    if form is None:
        return
    if not form.holds(output.shape):
        found = f"Output {output.name!r} has the shape {written(output.shape)}"
        yield problem(DataMismatch.code, "/task", f"{found}; {written(form.axes)} is expected.")
        return
    if isinstance(task, CausalLm) and output.shape[1] == 1:
        message = f"Output {output.name!r} has 1 position; causal_lm foretells a next one and needs at least 2."
        yield problem(DataMismatch.code, "/task", message)
    yield from _classes(task, form, classes_of(task, output))


def _classes(task: Task, form: Form, classes: int | None) -> Iterator[Finding]:
    weights = getattr(task, "class_weights", None)
    if classes is None:
        if weights is not None:
            message = "class_weights need an output with a fixed number of classes; leave them out."
            yield problem(InvalidSpec.code, "/task/class_weights", message)
        return
    if isinstance(weights, tuple) and len(weights) != classes:
        message = f"There are {len(weights)} class weights; the output has {classes} classes."
        yield problem(InvalidSpec.code, "/task/class_weights", message)
    if form.averaged and classes > MOST_CLASSES_AVERAGED:
        message = f"{task.kind} takes the mean over at most {MOST_CLASSES_AVERAGED} classes; the output has {classes}."
        yield problem(InvalidSpec.code, "/task/kind", message)
    if isinstance(task, DistillationOnly) and classes == 1:
        message = (
            'On a single class any two networks agree. Where the output is a number, say so: "like": "regression".'
        )
        yield problem(DataMismatch.code, "/task/like", message)
    if isinstance(task, Segmentation) and 0 <= task.ignore_label < classes:
        message = f"ignore_label {task.ignore_label} is one of the {classes} classes of the output; -100 is none."
        yield problem(InvalidSpec.code, "/task/ignore_label", message)


def judge_target(
    pointer: str, task: Task, array: ArrayInfo, output: TensorInfo, sizes: dict[str, int | str]
) -> Iterator[Finding]:
    """What is wrong with the labels for this task and output; `sizes` are those of the model's named axes."""
    if task.kind in FORMS:
        yield from _labels(pointer, task, array, output, sizes)
    else:
        yield from _numbers(pointer, array, output, sizes)


def _labels(
    pointer: str, task: Task, array: ArrayInfo, output: TensorInfo, sizes: dict[str, int | str]
) -> Iterator[Finding]:
    """Integers of the output's shape without the classes, each below their number."""
    if array.dtype not in INTEGERS:
        yield mismatch(pointer, array, f"is {array.dtype}", output, "integer labels")
        return
    form = FORMS[task.kind]
    expected = (*output.shape[: form.class_axis], *output.shape[form.class_axis + 1 :])
    if form.holds(output.shape) and not same_sizes(array.shape, expected, sizes):
        found = f"has the shape {written(array.shape)}"
        yield mismatch(pointer, array, found, output, written(("examples", *expected[1:])))
    yield from _range(pointer, task, array, output)


def _range(pointer: str, task: Task, array: ArrayInfo, output: TensorInfo) -> Iterator[Finding]:
    smallest, largest = _extremes(array, getattr(task, "ignore_label", None))
    ignored = "-100" if not isinstance(task, Segmentation) else f"-100 or {task.ignore_label}"
    if smallest is None or largest is None:
        message = f"Array {array.name!r} has no label to score: all are {ignored}."
        yield problem(DataMismatch.code, pointer, message)
        return
    classes = classes_of(task, output)
    if smallest < 0 or (classes is not None and largest >= classes):
        message = (
            f"The labels of array {array.name!r} reach from {smallest:.0f} to {largest:.0f}; "
            f"output {output.name!r} of the model has {'any number of' if classes is None else classes} classes, so 0 "
            f"to {'one less' if classes is None else classes - 1} is expected (or {ignored} for what is not scored)."
        )
        yield problem(LabelsOutOfRange.code, pointer, message)


def _extremes(array: ArrayInfo, ignored: int | None) -> tuple[float | None, float | None]:
    """The smallest and the largest label besides the ignored one."""
    known = (array.minimum, array.next_minimum, array.next_maximum, array.maximum)
    labels = [label for label in known if label is not None and label != ignored]
    return min(labels, default=None), max(labels, default=None)


def _numbers(pointer: str, array: ArrayInfo, output: TensorInfo, sizes: dict[str, int | str]) -> Iterator[Finding]:
    """Targets of a regression: floats of the output's shape; a last axis of 1 may be left out or added."""
    if array.dtype not in FLOATS:
        yield mismatch(pointer, array, f"is {array.dtype}", output, "floating-point targets")
    if not same_sizes(_less_one(array.shape), _less_one(output.shape), sizes):
        found = f"has the shape {written(array.shape)}"
        yield mismatch(pointer, array, found, output, written(("examples", *output.shape[1:])))


def _less_one(shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape
