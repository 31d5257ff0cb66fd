"""What a network is trained for and judged by: loss and metric of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from secateur.errors import DataMismatch, EmptyDataset, LabelsOutOfRange
from secateur.inspection import TensorInfo
from secateur.spec.task import Task

IGNORED_LABEL = -100


@dataclass(frozen=True)
class Score:
    """A metric, on how many scored labels it rests, its standard error, and the mean loss on the same labels."""

    value: float
    examples: int
    standard_error: float
    loss: float


class Objective(Protocol):
    """Loss and metric of one output of a program.

    `output` and `target` are tensors on one device. Tallies are float64 vectors that add up over batches.
    """

    @property
    def metric(self) -> Literal["accuracy", "rmse"]: ...
    @property
    def higher_is_better(self) -> bool: ...

    def select(self, outputs: Any) -> torch.Tensor:
        """The scored output among all that the program returned."""
        ...

    def counted(self, target: torch.Tensor) -> int:
        """How many labels of the batch count, whatever the output; `target` on the host."""
        ...

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> int:
        """How many labels of the batch count; `target` on the host. Raises DataMismatch when they do not fit."""
        ...

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """The mean loss over the labels that count, in float32 or wider.

        `smoothing` is the share of each label that is spread evenly over all classes (Szegedy et al. 2016); without
        classes it has no effect.
        """
        ...

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """What `score` needs to know about this batch."""
        ...

    def score(self, tally: torch.Tensor) -> Score:
        """The metric from the sum of all tallies. Raises EmptyDataset when no label counts."""
        ...


@dataclass(frozen=True)
class ClassificationObjective:
    """Cross-entropy and accuracy; outputs (N, classes, ...), labels (N, ...) with -100 for "not scored"."""

    position: int
    ends_in: Literal["logits", "softmax", "log_softmax"]
    metric: Literal["accuracy"] = "accuracy"
    higher_is_better: bool = True

    def select(self, outputs: Any) -> torch.Tensor:
        return _leaf(outputs, self.position)

    def counted(self, target: torch.Tensor) -> int:
        return int((target != IGNORED_LABEL).sum())

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> int:
        if output.dim() < 2 or target.shape != output.shape[:1] + output.shape[2:] or target.is_floating_point():
            raise _mismatch("integer labels for an output (examples, classes, ...)", output, target)
        scored = target[target != IGNORED_LABEL]
        if len(scored) and (int(scored.min()) < 0 or int(scored.max()) >= output.shape[1]):
            raise LabelsOutOfRange(
                f"The labels reach from {int(scored.min())} to {int(scored.max())}; the program has {output.shape[1]} "
                f"outputs, so 0 to {output.shape[1] - 1} (or {IGNORED_LABEL} for examples to ignore) is expected."
            )
        return len(scored)

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        labels = target.reshape(-1)
        scores = self._log_probabilities(output)
        loss = functional.nll_loss(scores, labels, ignore_index=IGNORED_LABEL)
        if smoothing == 0:
            return loss
        counts = labels != IGNORED_LABEL
        spread = -scores.mean(dim=1).masked_fill(~counts, 0.0).sum() / counts.sum()
        return (1 - smoothing) * loss + smoothing * spread

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        labels = target.reshape(-1)
        scores = self._log_probabilities(output)
        losses = functional.nll_loss(scores, labels, ignore_index=IGNORED_LABEL, reduction="none")
        counted = (labels != IGNORED_LABEL).sum()
        correct = (_by_class(output).argmax(dim=1) == labels).sum()
        return torch.stack([counted.double(), losses.double().sum(), correct.double()])

    def score(self, tally: torch.Tensor) -> Score:
        counted, loss, correct = tally.tolist()
        _require_labels(counted)
        share = correct / counted
        return Score(share, int(counted), math.sqrt(share * (1 - share) / counted), loss / counted)

    def _log_probabilities(self, output: torch.Tensor) -> torch.Tensor:
        values = _at_least_float32(_by_class(output))
        if self.ends_in == "log_softmax":
            return values
        if self.ends_in == "softmax":
            return values.clamp(min=torch.finfo(torch.float32).tiny).log()
        return functional.log_softmax(values, dim=1)


@dataclass(frozen=True)
class RegressionObjective:
    """Mean squared error and its root, over all elements; targets of the output's shape, or less a last axis of 1."""

    position: int
    metric: Literal["rmse"] = "rmse"
    higher_is_better: bool = False

    def select(self, outputs: Any) -> torch.Tensor:
        return _leaf(outputs, self.position)

    def counted(self, target: torch.Tensor) -> int:
        return target.numel()

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> int:
        if _without_last_one(target.shape) != _without_last_one(output.shape):
            raise _mismatch("targets of the output's shape", output, target)
        return target.numel()

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        values = _at_least_float32(output)
        return functional.mse_loss(values, target.to(values.dtype).reshape(values.shape))

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        squares = (output.double() - target.double().reshape(output.shape)).square()
        return torch.stack([torch.full_like(squares.sum(), squares.numel()), squares.sum(), squares.square().sum()])

    def score(self, tally: torch.Tensor) -> Score:
        """The standard error is that of the mean square, carried through the root (delta method)."""
        counted, squares, fourth_powers = tally.tolist()
        _require_labels(counted)
        mean = squares / counted
        variance = max(fourth_powers / counted - mean * mean, 0.0)
        root = math.sqrt(mean)
        return Score(root, int(counted), math.sqrt(variance / counted) / (2 * root) if root > 0 else 0.0, mean)


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


def _leaf(outputs: Any, position: int) -> torch.Tensor:
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    return tensors[position]


def _by_class(output: torch.Tensor) -> torch.Tensor:
    """(N, classes, ...) as (labels, classes): the loss over rows is deterministic on CUDA, the one over maps is not."""
    return output.movedim(1, -1).reshape(-1, output.shape[1])


def _at_least_float32(values: torch.Tensor) -> torch.Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _without_last_one(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else tuple(shape)


def _require_labels(counted: float) -> None:
    if counted == 0:
        raise EmptyDataset("There is no label to score: all are -100.")


def _mismatch(expected: str, output: torch.Tensor, target: torch.Tensor) -> DataMismatch:
    found = f"{str(target.dtype).removeprefix('torch.')} {tuple(target.shape)}"
    return DataMismatch(f"Expected {expected}; found a target of {found} for an output of {tuple(output.shape)}.")
