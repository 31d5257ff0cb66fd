"""Balanced class weights are scikit-learn's, and steps of several batches weigh them as one batch would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from secateur.errors import DataMismatch, EmptyDataset
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification, Segmentation
from secateur.spec.training import Sgd
from worker.recovery import balance
from worker.recovery.balance import weighed
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.train import fine_tune

OUTPUTS = [TensorInfo(name="0", dtype="float32", shape=("batch", 4))]


def skewed(number: int = 60) -> torch.Tensor:
    labels = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), number, True, generator=torch.Generator().manual_seed(0))
    labels[:3] = torch.arange(3)
    return labels


def test_balanced_weights_are_those_of_scikit_learn_on_the_training_part(
    make_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance, "LABELS_AT_ONCE", 7)
    labels = skewed()
    labels[10:20] = -100
    labels[40:] = 3  # set aside, and never seen in training
    train = Subset(make_dataset(torch.zeros(60, 2), labels), np.arange(40))
    objective: Any = weighed(Classification(class_weights="balanced"), OUTPUTS, train)
    seen = labels[:40][labels[:40] != -100].numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=seen)
    assert objective.weights == pytest.approx((*expected, 0.0))


def test_pixels_that_are_ignored_are_not_counted(make_dataset: Callable[..., Dataset]) -> None:
    labels = torch.tensor([0, 0, 0, 1, 255, 255], dtype=torch.uint8).reshape(1, 2, 3).repeat(2, 1, 1)
    outputs = [TensorInfo(name="0", dtype="float32", shape=("batch", 2, 2, 3))]
    train = make_dataset(torch.zeros(2, 1), labels).all()
    objective: Any = weighed(Segmentation(class_weights="balanced"), outputs, train)
    assert objective.weights == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))


def test_weights_of_the_spec_are_taken_as_they_are(make_dataset: Callable[..., Dataset]) -> None:
    train = make_dataset(torch.zeros(60, 2), skewed()).all()
    objective: Any = weighed(Classification(class_weights=(1.0, 2.0, 3.0, 4.0)), OUTPUTS, train)
    assert objective.weights == (1.0, 2.0, 3.0, 4.0)
    with pytest.raises(DataMismatch, match="4 classes"):
        weighed(Classification(class_weights=(1.0, 2.0)), OUTPUTS, train)


def test_without_a_label_nothing_can_be_balanced(make_dataset: Callable[..., Dataset]) -> None:
    train = make_dataset(torch.zeros(3, 2), torch.full((3,), -100)).all()
    with pytest.raises(EmptyDataset):
        weighed(Classification(class_weights="balanced"), OUTPUTS, train)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_small_batches_that_make_a_step_train_as_one_batch(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any, smoothing: float
) -> None:
    labels = skewed(24)
    labels[5:9] = -100
    x = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
    train = make_dataset(x, labels, torch.float64).all()
    objective = weighed(Classification(class_weights="balanced"), OUTPUTS, train)
    trained = []
    for size, accumulate in ((12, 1), (4, 3), (1, 12)):
        torch.manual_seed(0)
        module = nn.Linear(5, 4).double()
        recipe = FineTune(
            learning_rate=0.1, batch_size=size, accumulate=accumulate, optimizer=Sgd(), label_smoothing=smoothing
        )
        course = Course(train, train, objective, recipe, seed=0, device=torch.device("cpu"))
        fine_tune(program_of(module), course, guarding({}), 0, 2)
        trained.append(module.weight.detach())
    torch.testing.assert_close(trained[1], trained[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(trained[2], trained[0], rtol=1e-9, atol=1e-12)
