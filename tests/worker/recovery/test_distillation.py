"""What the dense network adds to the loss is what the papers say, and training follows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from secateur.errors import BadFeature
from secateur.inspection import TensorInfo
from secateur.spec.distill import Distill
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification, DistillationOnly, Regression, Task
from secateur.spec.transforms import HorizontalFlip, RandomCrop
from tests.worker.jobs import export
from tests.worker.networks import Case
from worker.program.observing import observed
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.balance import weighed
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.distillation import Lesson
from worker.recovery.evaluate import evaluate
from worker.recovery.extent import Extent
from worker.recovery.objective import Objective, objective_for
from worker.recovery.teacher import Answer, Teacher
from worker.recovery.train import fine_tune

CPU = torch.device("cpu")
IGNORED = -100


def objective_of(task: Task, ends_in: Any = None) -> Objective:
    return objective_for(task, [TensorInfo(name="0", dtype="float32", shape=("batch", 4), ends_in=ends_in)])


def recipe(smoothing: float = 0.0, **distill: Any) -> FineTune:
    return FineTune(learning_rate=0.05, label_smoothing=smoothing, distill=Distill(**distill))


ASKED = Teacher(lambda *_: None, CPU)
"""One whose answer is known already."""
WHOLE = Extent(1, 1, 1)
"""Of a step of a single batch."""


def drawn(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of four classes by a network and by the dense one, and labels of which about a third are ignored."""
    generator = torch.Generator().manual_seed(seed)
    ours, dense = (torch.randn(shape[0], 4, *shape[1:], generator=generator) * 3 for _ in range(2))
    target = torch.randint(0, 4, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.3] = IGNORED
    target.view(-1)[0] = 1
    return ours.requires_grad_(), dense, target


def hinton(ours: torch.Tensor, dense: torch.Tensor, counts: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 * sum_i p_i log(p_i / q_i), label by label."""
    total = torch.zeros(())
    for row in counts.nonzero():
        at = (row[0], slice(None), *row[1:])
        p, q = (torch.softmax(scores[at] / temperature, 0) for scores in (dense, ours))
        total = total + temperature**2 * sum(p[i] * (p[i] / q[i]).log() for i in range(4))
    return total / counts.sum()


@settings(deadline=None, max_examples=25)
@given(
    shape=st.sampled_from([(6,), (3, 2), (2, 2, 2)]),
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 8.0]),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    smoothing=st.sampled_from([0.0, 0.1]),
    ends_in=st.sampled_from([None, "softmax", "log_softmax"]),
)
def test_the_loss_is_that_of_the_paper(
    shape: tuple[int, ...], seed: int, temperature: float, weight: float, smoothing: float, ends_in: str | None
) -> None:
    ours, dense, target = drawn(shape, seed)
    labels = functional.cross_entropy(ours, target, label_smoothing=smoothing)
    expected = (1 - weight) * labels + weight * hinton(ours, dense, target != IGNORED, temperature)

    end = {None: lambda x: x, "softmax": lambda x: x.softmax(1), "log_softmax": lambda x: x.log_softmax(1)}[ends_in]
    spec, objective = recipe(smoothing, temperature=temperature, weight=weight), objective_of(Classification(), ends_in)
    loss = Lesson(spec, objective, ASKED).loss(target, Answer(end(ours)), Answer(end(dense)), WHOLE)

    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    grads = (torch.autograd.grad(value, ours)[0] for value in (loss, expected))
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-5)


def test_numbers_are_compared_by_their_squared_difference() -> None:
    ours, dense, target = (torch.randn(5, 4) for _ in range(3))
    lesson = Lesson(recipe(weight=0.3), objective_of(Regression()), ASKED)
    loss = lesson.loss(target, Answer(ours), Answer(dense), WHOLE)
    torch.testing.assert_close(loss, 0.7 * (ours - target).square().mean() + 0.3 * (ours - dense).square().mean())


def test_classes_that_the_dense_network_excludes_add_nothing() -> None:
    ours, dense, target = drawn((6,), 0)
    with torch.no_grad():
        for scores in (ours, dense):
            scores[:, 3] = -math.inf
    loss = objective_of(Classification()).distance(ours, dense, target, 2.0)
    left = objective_of(Classification()).distance(ours[:, :3], dense[:, :3], target.clamp(max=2), 2.0)
    torch.testing.assert_close(loss, left)
    assert bool(torch.autograd.grad(loss, ours)[0].isfinite().all())


def test_half_precision_is_compared_in_float32() -> None:
    ours, dense, target = drawn((6,), 1)
    for task in (Classification(), DistillationOnly(), DistillationOnly(like="regression"), Regression()):
        objective, halves = objective_of(task), (ours.half(), dense.half())
        known = halves[1] if objective.taught else target
        distance = objective.distance(*halves, known, 2.0)
        wide = objective.distance(halves[0].float(), halves[1].float(), known, 2.0)
        assert distance.dtype == torch.float32
        assert distance == wide


@pytest.mark.parametrize(("shape", "like"), [((12,), "classification"), ((4, 3), "classification"), ((4, 3), "tokens")])
def test_agreement_is_the_share_of_equal_first_classes(shape: tuple[int, ...], like: Any) -> None:
    ours, dense, _ = drawn(shape, 2)
    objective = objective_of(DistillationOnly(like=like))
    given = [scores.movedim(1, -1) if like == "tokens" else scores for scores in (ours, dense)]
    halves = zip(given[0].detach().split(2), given[1].split(2), strict=True)
    score = objective.score(torch.stack([objective.tally(*pair) for pair in halves]).sum(0))
    share = float((ours.argmax(1) == dense.argmax(1)).float().mean())
    assert 0 < share < 1
    assert (score.value, score.examples) == (pytest.approx(share), 12)
    assert score.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 12))
    everywhere = torch.ones(shape, dtype=torch.bool)
    assert score.loss == pytest.approx(hinton(ours, dense, everywhere, 1.0).item(), rel=1e-4)
    torch.testing.assert_close(objective.loss(*given), hinton(ours, dense, everywhere, 1.0), rtol=1e-4, atol=1e-5)


def test_of_numbers_without_labels_the_root_of_the_squared_difference_is_told() -> None:
    ours, dense = torch.randn(6, 4), torch.randn(6, 4)
    objective = objective_of(DistillationOnly(like="regression"))
    score = objective.score(objective.tally(ours, dense))
    assert (objective.metric, objective.higher_is_better) == ("rmse", False)
    assert score.value == pytest.approx((ours - dense).square().mean().sqrt().item(), rel=1e-5)


def program_from(module: nn.Module, folder: Path) -> Program:
    """As the reader gives it."""
    export(Case(module.eval(), (torch.randn(4, 5),), {}, dynamic=({0: torch.export.Dim("batch")},)), folder / "a.pt2")
    return read(folder / "a.pt2")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A program of one hidden layer."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(8, 3))
    return program_from(layers, tmp_path_factory.mktemp("dense"))


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course over 44 examples to train on and 20 to choose by."""

    def make(
        task: Task = Classification(),  # noqa: B008
        teacher: Teacher | None = None,
        ignored: int = 0,
        **fields: Any,
    ) -> Course:
        x = torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
        dataset = make_dataset(x, x[:, :3].argmax(1).masked_fill(torch.arange(64) < ignored, IGNORED))
        spec = FineTune(**{"learning_rate": 0.05, "batch_size": 11, **fields})
        train, validation = Subset(dataset, np.arange(44)), Subset(dataset, np.arange(44, 64))
        objective = weighed(task, [TensorInfo(name="0", dtype="float32", shape=("batch", 3))], train)
        return Course(train, validation, objective, spec, seed=7, device=CPU, teacher=teacher)

    return make


def weights(program: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in program.module.state_dict().items()}


def trained(program: Program, chosen: Course, guarding: Any, epochs: int = 2) -> dict[str, torch.Tensor]:
    own = program.copy()
    fine_tune(own, chosen, guarding({}), 0, epochs)
    return weights(own)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def shrunk(program: Program) -> Program:
    """One that has something to learn."""
    own = program.copy()
    with torch.no_grad():
        for parameter in own.module.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return own


def taught_by(program: Program, *features: str) -> Teacher:
    return Teacher.of(program, CPU, features, (torch.randn(20, 5, generator=torch.Generator().manual_seed(4)),))


def test_a_weight_of_0_is_plain_training_bit_for_bit(dense: Program, course: Any, guarding: Any) -> None:
    plain = trained(shrunk(dense), course(), guarding)
    unheard = trained(shrunk(dense), course(teacher=taught_by(dense), distill=Distill(weight=0.0)), guarding)
    heard = trained(shrunk(dense), course(teacher=taught_by(dense), distill=Distill(weight=0.5)), guarding)
    assert same(plain, unheard)
    assert not same(plain, heard)


WEIGHTED = Classification(class_weights=(0.1, 3.0, 1.0))


@pytest.mark.parametrize(
    ("task", "ignored"), [(Classification(), 0), (WEIGHTED, 10), (WEIGHTED, 40), (DistillationOnly(), 0)]
)
def test_a_step_of_several_batches_is_that_of_one(
    course: Any, guarding: Any, task: Task, ignored: int, tmp_path: Path
) -> None:
    """Whatever labels weigh and wherever they are: with 4 that count, some of 4 batches have none."""
    torch.manual_seed(0)
    dense = program_from(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), tmp_path)
    teacher, distill = taught_by(dense, "linear_default"), Distill(features=("linear_default",))
    results = []
    for size in (44, 11):
        chosen = course(task, teacher, ignored, distill=distill, batch_size=size, accumulate=44 // size)
        results.append(trained(shrunk(dense), chosen, guarding))
    assert not same(*results)
    for name in results[0]:
        torch.testing.assert_close(results[0][name], results[1][name])


def test_classes_weigh_in_the_loss_of_the_task_alone() -> None:
    ours, dense, target = drawn((30,), 3)
    objective = replace(objective_of(Classification()), weights=(0.1, 3.0, 1.0, 2.0))  # type: ignore[type-var]
    labels = functional.cross_entropy(ours, target, torch.tensor(objective.weights))
    expected = 0.4 * labels + 0.6 * hinton(ours, dense, target != IGNORED, 2.0)
    loss = Lesson(recipe(weight=0.6), objective, ASKED).loss(target, Answer(ours), Answer(dense), WHOLE)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_both_networks_see_the_same_pictures(tmp_path: Path, guarding: Any) -> None:
    """Cropped and flipped at random: or a network that is its own teacher would have something to learn."""
    torch.manual_seed(0)
    x = torch.rand(24, 1, 4, 4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    export(Case(module.eval(), (x[:2],), {}, dynamic=({0: torch.export.Dim("batch")},)), tmp_path / "a.pt2")
    dense = read(tmp_path / "a.pt2")
    save_file({"x": x}, tmp_path / "x.safetensors")
    steps = (RandomCrop(padding=2), HorizontalFlip())
    seen = TensorInfo(name="x", dtype="float32", shape=("batch", 1, 4, 4))
    data = Dataset.open(tmp_path / "x.safetensors", {}, None, [seen], steps).all()
    own, spec = dense.copy(), FineTune(learning_rate=0.5, batch_size=8)
    course = Course(data, data, objective_of(DistillationOnly()), spec, seed=0, device=CPU, teacher=taught_by(dense))
    losses: list[float] = []
    fine_tune(own, course, guarding({}), 0, 2, on_step=lambda moment: losses.append(moment.loss()))
    assert losses == pytest.approx([0.0] * 6, abs=1e-6)
    assert not torch.equal(data.inputs(np.arange(24), data.draws(0, 0, 1))[0], x)


def test_features_become_those_of_the_dense_network(dense: Program, course: Any, guarding: Any) -> None:
    feature = "batch_norm_default"
    teacher = taught_by(dense, feature)
    student = shrunk(dense)
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(5))

    def far(program: Program) -> float:
        with torch.no_grad():
            ours = observed(program, (feature,))(x)[1][0]
        return float((ours - teacher.answer((x,)).features[0]).square().mean() / teacher.scales[0])

    before = far(student)
    distill = Distill(weight=0.0, features=(feature,), feature_weight=10.0)
    fine_tune(student, course(teacher=teacher, distill=distill), guarding({}), 0, 30)
    assert before > 0.5
    assert far(student) < before / 5


def test_a_value_is_seen_before_it_is_overwritten(dense: Program) -> None:
    before, after = ("batch_norm_default", "relu__default")
    x = torch.randn(50, 5)
    outputs, (normed, clipped) = observed(dense, (before, after))(x)
    torch.testing.assert_close(outputs, dense(x))
    assert bool((normed < 0).any())
    torch.testing.assert_close(clipped, normed.relu())


@pytest.mark.parametrize(
    ("name", "told"),
    [("relu_default", "relu__default"), ("x", "no node 'x'"), ("0_weight", "no node"), ("zzz", "linear_default")],
)
def test_a_node_that_is_not_there_is_told_with_those_that_are_near(dense: Program, name: str, told: str) -> None:
    with pytest.raises(BadFeature, match=told) as refused:
        taught_by(dense, name)
    assert set(refused.value.context["near"]) <= {node.name for node in dense.module.graph.nodes}


def test_a_node_without_anything_to_learn_from_is_refused(tmp_path: Path) -> None:
    class Zeros(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (x * 0).relu() + (x > 0)

    program = program_from(Zeros(), tmp_path)
    for name, told in (("relu_default", "mean square of 0"), ("gt_scalar", "no floating-point")):
        with pytest.raises(BadFeature, match=told):
            taught_by(program, name)


def test_the_teacher_is_not_trained_and_draws_nothing(dense: Program, course: Any, guarding: Any) -> None:
    teacher = taught_by(dense, "linear_default")
    x = torch.randn(6, 5)
    before = teacher.answer((x,)).outputs
    student = dense.copy()
    fine_tune(student, course(teacher=teacher, distill=Distill(features=("linear_default",))), guarding({}), 0, 2)
    assert torch.equal(teacher.answer((x,)).outputs, before)
    assert not before.requires_grad


def test_without_labels_the_dense_network_agrees_with_itself(dense: Program, course: Any) -> None:
    chosen = course(DistillationOnly(), taught_by(dense))

    def score(program: Program) -> Any:
        return evaluate(program, chosen.validation, chosen.objective, 7, CPU, teacher=chosen.teacher)

    assert (score(dense.copy()).value, score(dense.copy()).loss) == (1.0, pytest.approx(0, abs=1e-6))
    assert score(shrunk(dense)).value < 1.0
