"""Losses and metrics equal torch's and torchmetrics', however the batches are cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import DataMismatch, EmptyDataset, LabelsOutOfRange
from secateur.inspection import TensorInfo
from secateur.spec.task import Classification, Regression, Task
from worker.recovery.objective import Objective, objective_for


def output(name: str = "0", ends_in: Any = None) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=("batch", 4), ends_in=ends_in)


def tally(objective: Objective, values: torch.Tensor, target: torch.Tensor, pieces: int) -> torch.Tensor:
    parts = zip(values.tensor_split(pieces), target.tensor_split(pieces), strict=True)
    return torch.stack([objective.tally(a, b) for a, b in parts]).sum(dim=0)


shapes = st.sampled_from([(12,), (7, 3), (5, 2, 3)])
seeds = st.integers(0, 10_000)


def drawn(shape: tuple[int, ...], seed: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of four classes and labels, about a share `ignored` of them -100 and at least one not."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], 4, *shape[1:], generator=generator, requires_grad=True)
    target = torch.randint(0, 4, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = -100
    target.view(-1)[0] = 1
    return logits, target


@settings(deadline=None)
@given(shape=shapes, seed=seeds, pieces=st.integers(1, 5), ignored=st.floats(0, 0.8))
def test_classification_is_cross_entropy_and_accuracy(
    shape: tuple[int, ...], seed: int, pieces: int, ignored: float
) -> None:
    logits, target = drawn(shape, seed, ignored)
    objective = objective_for(Classification(), [output()])
    loss = objective.loss(logits, target)
    expected = torch.nn.CrossEntropyLoss()(logits, target)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, expected)))
    score = objective.score(tally(objective, logits.detach(), target, pieces))
    metric = torchmetrics.Accuracy("multiclass", num_classes=4, average="micro", ignore_index=-100)
    assert score.value == pytest.approx(metric(logits.detach(), target).item())
    assert score.loss == pytest.approx(expected.item(), rel=1e-5)
    assert score.examples == objective.labels(logits, target) == int((target != -100).sum())
    assert score.standard_error == pytest.approx(math.sqrt(score.value * (1 - score.value) / score.examples))


def test_rows_of_logits_give_torchs_loss_bit_for_bit() -> None:
    logits, target = torch.randn(64, 10), torch.randint(0, 10, (64,))
    assert objective_for(Classification(), [output()]).loss(logits, target) == torch.nn.CrossEntropyLoss()(
        logits, target
    )


@pytest.mark.parametrize("ends_in", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(9,), (4, 3)])
def test_probabilities_have_the_loss_of_their_logits(ends_in: Any, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape[0], 4, *shape[1:])
    target = torch.randint(0, 4, shape)
    values = getattr(torch, ends_in)(logits, dim=1)
    loss = objective_for(Classification(), [output(ends_in=ends_in)]).loss(values, target)
    torch.testing.assert_close(loss, torch.nn.CrossEntropyLoss()(logits, target))


@settings(deadline=None)
@given(
    shape=shapes,
    seed=seeds,
    smoothing=st.floats(0, 0.99),
    ignored=st.floats(0, 0.8),
    ends_in=st.sampled_from(["logits", "softmax", "log_softmax"]),
)
def test_smoothed_labels_have_torchs_loss(
    shape: tuple[int, ...], seed: int, smoothing: float, ignored: float, ends_in: str
) -> None:
    logits, target = drawn(shape, seed, ignored)
    values = logits if ends_in == "logits" else getattr(torch, ends_in)(logits, dim=1)
    loss = objective_for(Classification(), [output(ends_in=ends_in)]).loss(values, target, smoothing)
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=-100, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, expected)))


@pytest.mark.parametrize("task", [Classification(), Regression()])
def test_labels_count_the_same_without_the_output(task: Task) -> None:
    objective = objective_for(task, [output()])
    values = torch.zeros(3, 4, 2)
    target = torch.tensor([[0, -100], [3, 1], [-100, -100]]) if task.kind == "classification" else torch.zeros(3, 4, 2)
    assert objective.counted(target) == objective.labels(values, target) == (3 if task.kind == "classification" else 24)


def test_a_probability_of_zero_has_a_finite_loss_and_gradient() -> None:
    values = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = objective_for(Classification(), [output(ends_in="softmax")]).loss(values, torch.tensor([1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


@settings(deadline=None)
@given(shape=st.sampled_from([(12,), (12, 1), (7, 3), (5, 2, 3)]), seed=seeds, pieces=st.integers(1, 5))
def test_regression_is_mean_squared_error_and_its_root(shape: tuple[int, ...], seed: int, pieces: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, target = (torch.randn(shape, generator=generator) for _ in range(2))
    objective = objective_for(Regression(), [output()])
    assert objective.loss(values, target) == torch.nn.MSELoss()(values, target)
    score = objective.score(tally(objective, values, target, pieces))
    metric = torchmetrics.MeanSquaredError(squared=False)
    assert score.value == pytest.approx(metric(values.flatten(), target.flatten()).item(), rel=1e-5)
    assert score.loss == pytest.approx(score.value**2)
    assert score.examples == values.numel()


def test_the_standard_error_of_a_root_mean_square_is_the_spread_over_repetitions() -> None:
    objective = objective_for(Regression(), [output()])
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(2000, 400, generator=generator)
    scores = [objective.score(objective.tally(row, torch.zeros(400))) for row in errors]
    spread = float(np.std([score.value for score in scores]))
    assert np.mean([score.standard_error for score in scores]) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize(("values", "target"), [((6, 1), (6,)), ((6,), (6, 1)), ((6, 1), (6, 1))])
def test_a_last_axis_of_one_may_be_left_out(values: tuple[int, ...], target: tuple[int, ...]) -> None:
    objective = objective_for(Regression(), [output()])
    one, other = torch.randn(values), torch.randn(target)
    assert objective.labels(one, other) == 6
    assert objective.loss(one, other) == torch.nn.MSELoss()(one.flatten(), other.flatten())


@pytest.mark.parametrize(
    ("task", "values", "target"),
    [
        (Classification(), torch.zeros(4, 3), torch.zeros(4)),
        (Classification(), torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        (Classification(), torch.zeros(4), torch.zeros(4, dtype=torch.int64)),
        (Regression(), torch.zeros(4, 3), torch.zeros(4)),
        (Regression(), torch.zeros(4, 3), torch.zeros(3, 4)),
    ],
)
def test_targets_of_another_form_are_refused(task: Task, values: torch.Tensor, target: torch.Tensor) -> None:
    with pytest.raises(DataMismatch, match="found a target"):
        objective_for(task, [output()]).labels(values, target)


@pytest.mark.parametrize("label", [4, -1, -99])
def test_labels_without_an_output_are_refused(label: int) -> None:
    with pytest.raises(LabelsOutOfRange, match="0 to 3"):
        objective_for(Classification(), [output()]).labels(torch.zeros(2, 4), torch.tensor([0, label]))


def test_nothing_to_score_is_an_error() -> None:
    objective = objective_for(Classification(), [output()])
    with pytest.raises(EmptyDataset, match="-100"):
        objective.score(objective.tally(torch.zeros(2, 4), torch.tensor([-100, -100])))


@pytest.mark.parametrize(("wanted", "position"), [(0, 0), (1, 1), ("logits", 1), ("states.0", 2), ("2", 3)])
def test_the_scored_output_is_chosen_by_index_or_name(wanted: int | str, position: int) -> None:
    outputs = [output("loss"), output("logits"), output("states.0"), output("2")]
    tensors = [torch.full((2, 4), float(index)) for index in range(4)]
    returned = {"loss": tensors[0], "logits": tensors[1], "states": (tensors[2], None), "2": tensors[3]}
    assert objective_for(Classification(output=wanted), outputs).select(returned) is tensors[position]


@pytest.mark.parametrize(("wanted", "says"), [(None, "task.output"), (2, "no output 2"), ("x", "no output 'x'")])
def test_an_unclear_output_is_refused_with_the_names(wanted: int | str | None, says: str) -> None:
    with pytest.raises(DataMismatch, match=f"{says}.*'a', 'b'"):
        objective_for(Classification(output=wanted), [output("a"), output("b")])


def test_scores_of_half_precision_are_added_up_in_full() -> None:
    objective = objective_for(Regression(), [output()])
    values = torch.full((5000,), 1.0, dtype=torch.float16)
    assert objective.score(objective.tally(values, torch.zeros(5000))).value == 1.0
