"""Losses and metrics of tokens and pixels equal torch's and torchmetrics', however the batches are cut."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, kl_div
from torchmetrics.text import Perplexity

from secateur.errors import DataMismatch, EmptyDataset, LabelsOutOfRange
from secateur.inspection import TensorInfo
from secateur.spec.task import CausalLm, Classification, MaskedLm, Segmentation, Task, TokenClassification
from worker.recovery.objective import objective_for

CLASSES = 4
TOKENS = (6, 7, CLASSES)
MAPS = (6, CLASSES, 3, 5)
SHAPES: dict[str, tuple[int, ...]] = {
    "causal_lm": TOKENS,
    "masked_lm": TOKENS,
    "token_classification": TOKENS,
    "segmentation": MAPS,
}
TASKS: list[Task] = [CausalLm(), MaskedLm(), TokenClassification(), Segmentation()]


def objective_of(task: Task) -> Any:
    return objective_for(task, [TensorInfo(name="0", dtype="float32", shape=("batch", *SHAPES[task.kind][1:]))])


def named(task: Task) -> str:
    return task.kind


def drawn(task: Task, seed: int, ignored: float, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels below `classes` of which about a share `ignored` does not count, but some does."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPES[task.kind], generator=generator, requires_grad=True)
    axis = 1 if task.kind == "segmentation" else 2
    shape = [size for at, size in enumerate(logits.shape) if at != axis]
    target = torch.randint(0, classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = -100
    target[0, -1] = 1
    return logits, target


def by_hand(task: Task, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of logits and their labels, as each task pairs them."""
    if task.kind == "segmentation":
        return logits.permute(0, 2, 3, 1).reshape(-1, CLASSES), target.reshape(-1)
    if task.kind == "causal_lm":
        pairs = [(logits[n, t], target[n, t + 1]) for n in range(len(logits)) for t in range(logits.shape[1] - 1)]
        rows, labels = zip(*pairs, strict=True)
        return torch.stack(rows), torch.stack(labels)
    return logits.reshape(-1, CLASSES), target.reshape(-1)


REFERENCES: dict[str, Callable[[], Any]] = {
    "causal_lm": lambda: Perplexity(ignore_index=-100),
    "masked_lm": lambda: Perplexity(ignore_index=-100),
    "token_classification": lambda: torchmetrics.F1Score(
        "multiclass", num_classes=CLASSES, average="macro", ignore_index=-100
    ),
    "segmentation": lambda: torchmetrics.JaccardIndex(
        "multiclass", num_classes=CLASSES, average="macro", ignore_index=-100
    ),
}


@pytest.mark.parametrize("task", TASKS, ids=named)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), pieces=st.integers(1, 4), ignored=st.floats(0, 0.9), classes=st.integers(2, 4))
def test_loss_and_metric_are_the_references(task: Task, seed: int, pieces: int, ignored: float, classes: int) -> None:
    logits, target = drawn(task, seed, ignored, classes)
    objective = objective_of(task)
    rows, labels = by_hand(task, logits, target)
    loss, expected = objective.loss(logits, target), cross_entropy(rows, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected))
    )
    parts = zip(logits.detach().tensor_split(pieces), target.tensor_split(pieces), strict=True)
    score = objective.score(torch.stack([objective.tally(a, b) for a, b in parts]).sum(dim=0))
    metric = REFERENCES[task.kind]()
    rows = rows.detach()
    reference = metric(rows[None], labels[None]) if task.kind.endswith("lm") else metric(rows, labels)
    assert score.value == pytest.approx(reference.item(), rel=1e-5)
    assert score.loss == pytest.approx(expected.item(), rel=1e-5)
    counted = int((labels != -100).sum())
    assert score.examples == objective.counted(target) == objective.labels(logits, target) == counted


@pytest.mark.parametrize("task", TASKS, ids=named)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_distance_to_other_scores_is_taken_where_labels_count(task: Task, temperature: float) -> None:
    """T^2 * KL(dense || ours), by torch, over the rows that the task pairs with a label."""
    (ours, target), dense = drawn(task, 1, 0.4), drawn(task, 2, 0.4)[0].detach()
    (rows, labels), (others, _) = by_hand(task, ours, target), by_hand(task, dense, target)
    counts = labels != -100
    soft = [(scores[counts] / temperature).log_softmax(dim=1) for scores in (rows, others)]
    expected = temperature**2 * kl_div(*soft, reduction="batchmean", log_target=True)
    objective = replace(objective_of(task), weights=(0.5, 3.0, 1.25, 0.0))
    distance = objective.distance(ours, dense, target, temperature)
    torch.testing.assert_close(distance, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, ours)[0] for value in (distance, expected)))
    assert objective.number(target) == int(counts.sum())


@pytest.mark.parametrize("task", [*TASKS, Classification()], ids=named)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_are_those_of_torch(task: Task, smoothing: float) -> None:
    if task.kind == "classification":
        logits, target = torch.randn(9, CLASSES, 2, requires_grad=True), torch.arange(18).reshape(9, 2) % CLASSES
        target[::3] = -100
        rows, labels = logits.permute(0, 2, 1).reshape(-1, CLASSES), target.reshape(-1)
        objective: Any = objective_for(task, [TensorInfo(name="0", dtype="float32", shape=("batch", CLASSES, 2))])
    else:
        logits, target = drawn(task, 3, 0.3)
        rows, labels = by_hand(task, logits, target)
        objective = objective_of(task)
    weights = (0.5, 3.0, 1.25, 0.0)
    weighed = type(objective)(objective.position, objective.ends_in, weights)
    loss = weighed.loss(logits, target, smoothing)
    expected = cross_entropy(rows, labels, torch.tensor(weights), label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected))
    )
    total = sum(weights[label] for label in labels[labels != -100].tolist())
    assert weighed.counted(target) == weighed.labels(logits, target) == pytest.approx(total)
    assert torch.equal(weighed.tally(logits.detach(), target), objective.tally(logits.detach(), target))


@pytest.mark.parametrize("ends_in", ["softmax", "log_softmax"])
def test_probabilities_of_tokens_have_the_loss_of_their_logits(ends_in: Any) -> None:
    logits, target = drawn(CausalLm(), 0, 0.2)
    output = TensorInfo(name="0", dtype="float32", shape=("batch", *TOKENS[1:]), ends_in=ends_in)
    loss = objective_for(CausalLm(), [output]).loss(getattr(torch, ends_in)(logits, dim=-1), target)
    torch.testing.assert_close(loss, objective_of(CausalLm()).loss(logits, target))


def test_a_segmentation_ignores_its_label_and_minus_a_hundred() -> None:
    logits, target = drawn(Segmentation(), 1, 0.4)
    other = target.clone()
    other[target == -100] = torch.where(torch.rand(int((target == -100).sum())) < 0.5, 255, -100)
    objective = objective_of(Segmentation(ignore_label=255))
    assert objective.counted(other) == objective.counted(target)
    assert objective.loss(logits, other) == objective.loss(logits, target)
    assert torch.equal(objective.tally(logits.detach(), other), objective.tally(logits.detach(), target))
    with pytest.raises(LabelsOutOfRange):
        objective_of(Segmentation(ignore_label=254)).labels(logits, other)


@pytest.mark.parametrize("task", TASKS, ids=named)
def test_the_standard_error_is_the_spread_over_other_examples(task: Task) -> None:
    """Labels of one example hang together: each has a difficulty of its own, which all of its labels share."""
    objective = objective_of(task)
    generator = torch.Generator().manual_seed(0)
    target = drawn(task, 0, 0.2)[1].repeat(25, *[1] * (len(SHAPES[task.kind]) - 2))
    scores = []
    for _ in range(300):
        here = target[torch.randint(0, len(target), (len(target),), generator=generator)]
        hints = torch.nn.functional.one_hot(here.clamp(min=0), CLASSES).float()
        skill = 2 * torch.randn([len(here)] + [1] * (hints.dim() - 1), generator=generator)
        logits = skill * hints + torch.randn(hints.shape, generator=generator)
        if task.kind == "segmentation":
            logits = logits.movedim(-1, 1)
        if task.kind == "causal_lm":
            logits = logits.roll(-1, dims=1)
        scores.append(objective.score(objective.tally(logits, here)))
    spread = float(np.std([score.value for score in scores]))
    assert np.mean([score.standard_error for score in scores]) == pytest.approx(spread, rel=0.15)


def test_a_network_that_knows_nothing_has_an_infinite_perplexity_and_no_traceback() -> None:
    objective = objective_of(MaskedLm())
    logits = torch.zeros(TOKENS)
    logits[..., 0] = 2000
    score = objective.score(objective.tally(logits, torch.ones(TOKENS[:2], dtype=torch.int64)))
    assert score.value == math.inf
    assert score.loss == pytest.approx(2000)


@pytest.mark.parametrize("task", TASKS, ids=named)
def test_nothing_to_score_is_an_error(task: Task) -> None:
    logits, target = drawn(task, 0, 0)
    objective = objective_of(task)
    with pytest.raises(EmptyDataset, match="-100"):
        objective.score(objective.tally(logits.detach(), torch.full_like(target, -100)))


@pytest.mark.parametrize("task", TASKS, ids=named)
@pytest.mark.parametrize("wrong", ["floats", "an axis less", "another length"])
def test_labels_of_another_form_are_refused(task: Task, wrong: str) -> None:
    logits, target = drawn(task, 0, 0)
    changed = {"floats": target.float(), "an axis less": target[..., 0], "another length": target[..., 1:]}[wrong]
    with pytest.raises(DataMismatch, match="found a target"):
        objective_of(task).labels(logits, changed)


@pytest.mark.parametrize("label", [CLASSES, -1])
@pytest.mark.parametrize("task", TASKS, ids=named)
def test_labels_that_are_no_class_are_refused(task: Task, label: int) -> None:
    logits, target = drawn(task, 0, 0)
    target[0, -1] = label
    with pytest.raises(LabelsOutOfRange, match="0 to 3"):
        objective_of(task).labels(logits, target)
