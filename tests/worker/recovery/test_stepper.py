"""What makes one step: several batches as if they were one, gradients clipped over all weights, labels smoothed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import Diverged
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification, Regression
from secateur.spec.training import AdamW, Sgd
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.objective import objective_for
from worker.recovery.order import permutation
from worker.recovery.train import Moment, fine_tune

CPU = torch.device("cpu")
OUTPUTS = [TensorInfo(name="0", dtype="float32", shape=("batch", 3))]
PLAIN = Sgd(momentum=0, nesterov=False, weight_decay=0)
MOMENTUM = Sgd(momentum=0.9, nesterov=True, weight_decay=0.01)
ROUND = 2


def network(dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)).to(dtype)


def after(module: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [{name: tensor.detach().clone() for name, tensor in module.named_parameters()}]


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course of so many examples of 3 classes, a share of them ignored."""

    def make(
        examples: int = 150,
        ignored: float = 0,
        dtype: torch.dtype = torch.float32,
        task: str = "classification",
        **recipe: Any,
    ) -> Course:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(examples, 5, generator=generator)
        classes = x[:, :3].argmax(dim=1)
        classes[torch.rand(examples, generator=generator) < ignored] = -100
        classes[0] = 1
        data = make_dataset(x, classes if task == "classification" else x[:, :3] * 2, dtype).all()
        spec = FineTune(**{"learning_rate": 0.05, "optimizer": PLAIN, **recipe})
        objective = objective_for(Classification() if task == "classification" else Regression(), OUTPUTS)
        return Course(data, data, objective, spec, seed=7, device=CPU)

    return make


@pytest.fixture
def trained(program_of: Any, guarding: Any) -> Callable[..., list[dict[str, torch.Tensor]]]:
    """Trains a module and gives the weights after every step."""

    def train(module: nn.Module, on: Course, epochs: int = 1) -> list[dict[str, torch.Tensor]]:
        seen: list[dict[str, torch.Tensor]] = []
        fine_tune(program_of(module), on, guarding({}), ROUND, epochs, on_step=lambda _: seen.extend(after(module)))
        return seen

    return train


def close(ours: list[dict[str, torch.Tensor]], theirs: list[dict[str, torch.Tensor]], within: float = 1e-6) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return all(torch.allclose(a[n], b[n], rtol=0, atol=within) for a, b in pairs for n in b)


@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM, AdamW()])
@pytest.mark.parametrize("examples", [20, 64, 128, 150, 170])
@pytest.mark.parametrize("ignored", [0, 0.5, 0.97])
@pytest.mark.parametrize("more", [{}, {"clip_norm": 0.05, "label_smoothing": 0.2, "curve": "one_cycle"}])
def test_four_batches_of_16_are_one_of_64(
    course: Callable[..., Course], trained: Any, optimizer: Any, examples: int, ignored: float, more: dict[str, Any]
) -> None:
    if isinstance(optimizer, AdamW):
        # Far from 0, or the rounding of a tiny gradient decides which way a step of full length goes.
        optimizer = AdamW(betas=(0.9, 0.9))
        more = {**more, "learning_rate": 1e-4}
    whole = trained(network(), course(examples, ignored, batch_size=64, optimizer=optimizer, **more), 2)
    parts = trained(network(), course(examples, ignored, batch_size=16, accumulate=4, optimizer=optimizer, **more), 2)
    assert len(parts) == 2 * -(-examples // 64)
    assert close(parts, whole)


@pytest.mark.parametrize("accumulate", [1, 3, 1024])
def test_batches_of_a_regression_add_up_too(course: Callable[..., Course], trained: Any, accumulate: int) -> None:
    whole = trained(network(), course(task="regression", batch_size=10 * min(accumulate, 15)))
    parts = trained(network(), course(task="regression", batch_size=10, accumulate=accumulate))
    assert close(parts, whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_half_precision_add_up_in_float32(
    course: Callable[..., Course], trained: Any, dtype: torch.dtype
) -> None:
    module, reference = network(dtype), network(dtype)
    chosen = course(64, dtype=dtype, batch_size=4, accumulate=16, learning_rate=1.0)
    trained(module, chosen)
    (x,), y = chosen.train.batch(permutation(64, chosen.seed, ROUND, 1))
    expected = {name: tensor.detach().float() for name, tensor in reference.named_parameters()}
    for batch in range(16):
        rows = slice(4 * batch, 4 * batch + 4)
        loss = nn.functional.cross_entropy(reference(x[rows]).float(), y[rows]) / 16
        reference.zero_grad()
        (loss * 2**16).backward()
        for name, tensor in reference.named_parameters():
            assert tensor.grad is not None
            expected[name] -= tensor.grad.float() / 2**16
    for name, tensor in module.named_parameters():
        assert torch.allclose(tensor.float(), expected[name], rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_step_without_a_counting_label_changes_nothing(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any
) -> None:
    dataset = make_dataset(torch.randn(40, 5), torch.tensor([-100] * 38 + [0, 1]))
    spec = FineTune(learning_rate=0.1, batch_size=2, accumulate=3, clip_norm=1, label_smoothing=0.1)
    on = Course(dataset.all(), dataset.all(), objective_for(Classification(), OUTPUTS), spec, seed=0, device=CPU)
    seen: list[dict[str, torch.Tensor]] = []
    module = network()
    fine_tune(program_of(module), on, guarding({}), 0, 1, on_step=lambda _: seen.extend(after(module)))
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(seen)]
    assert len(seen) == 7
    assert changed.count(True) <= 2
    assert all(torch.isfinite(tensor).all() for tensor in seen[-1].values())


def test_the_loss_of_a_step_is_that_of_all_its_labels(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    def losses(**recipe: Any) -> list[float]:
        heard: list[float] = []
        module = program_of(network())
        on = course(150, 0.5, **recipe)
        fine_tune(module, on, guarding({}), ROUND, 1, on_step=lambda moment: heard.append(moment.loss()))
        return heard

    assert losses(batch_size=16, accumulate=4) == pytest.approx(losses(batch_size=64), rel=1e-5)


def test_progress_counts_steps_not_batches(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    heard: list[Moment] = []
    on = course(150, batch_size=10, accumulate=4)
    fine_tune(program_of(network()), on, guarding({}), ROUND, 2, on_step=heard.append)
    assert (on.batches(), on.steps()) == (15, 4)
    assert [(moment.epoch, moment.step, moment.steps) for moment in heard] == [
        (1 + step // 4, step + 1, 8) for step in range(8)
    ]


@pytest.mark.parametrize("examples", [1, 2, 9, 10, 11, 12, 45, 81])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 1024])
def test_the_steps_of_an_epoch_share_out_its_batches(
    course: Callable[..., Course], examples: int, accumulate: int
) -> None:
    on = course(examples, batch_size=10, accumulate=accumulate)
    groups = [on.group(step) for step in range(on.steps())]
    shared = [np.arange(examples)[part] for group in groups for part in group]
    assert [len(group) for group in groups[:-1]] == [accumulate] * (len(groups) - 1)
    assert 1 <= len(groups[-1]) <= accumulate
    assert len(shared) == on.batches()
    left_out = int(examples % 10 == 1 and examples > 1)
    assert np.concatenate(shared).tolist() == list(range(examples - left_out))


def test_targets_are_those_of_the_batch(course: Callable[..., Course]) -> None:
    train = Subset(course(150, 0.3).train.dataset, np.arange(50, 90))
    rows = np.array([39, 0, 7, 7])
    assert torch.equal(train.targets(rows), train.batch(rows)[1])


def test_dropout_differs_between_the_batches_of_a_step(course: Callable[..., Course], trained: Any) -> None:
    class Noting(nn.Dropout):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            dropped: torch.Tensor = super().forward(x)
            if self.training:
                kept.append(dropped != 0)
            return dropped

    kept: list[torch.Tensor] = []
    module = network()
    module[2] = Noting(0.5)
    trained(module, course(64, batch_size=16, accumulate=4))
    assert len(kept) == 4
    assert not any(torch.equal(kept[0], other) for other in kept[1:])


@pytest.mark.parametrize("clip_norm", [1e-3, 0.05, 1e6])
@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM])
def test_clipping_is_torchs(course: Callable[..., Course], trained: Any, clip_norm: float, optimizer: Sgd) -> None:
    chosen = course(60, batch_size=20, clip_norm=clip_norm, curve="constant", optimizer=optimizer)
    module = network()
    options = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov, "weight_decay": optimizer.weight_decay}
    reference = torch.optim.SGD(module.parameters(), 0.05, **options)
    order = permutation(60, chosen.seed, ROUND, 1)
    expected: list[dict[str, torch.Tensor]] = []
    for start in range(0, 60, 20):
        (x,), y = chosen.train.batch(order[start : start + 20])
        reference.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
        reference.step()
        expected += after(module)
    assert close(trained(network(), chosen), expected, within=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_step_is_longer_than_the_clipped_norm(
    course: Callable[..., Course], trained: Any, dtype: torch.dtype
) -> None:
    module = network(dtype)
    before = after(module)
    seen = trained(module, course(dtype=dtype, batch_size=30, clip_norm=0.25, learning_rate=1.0, curve="constant"))
    for old, new in pairwise(before + seen):
        length = sum(float((new[name].float() - old[name].float()).square().sum()) for name in new) ** 0.5
        assert 0 < length < 0.25 * 1.1


def test_pruned_entries_do_not_count_towards_the_norm(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    module = network()
    before = after(module)[0]
    masks = {name: torch.zeros_like(tensor, dtype=torch.bool) for name, tensor in before.items() if name != "3.bias"}
    recipe = {"batch_size": 150, "clip_norm": 1e-3, "learning_rate": 1.0, "curve": "constant"}
    fine_tune(program_of(module), course(**recipe), guarding(masks), ROUND, 1)
    moved = module.get_parameter("3.bias").detach() - before["3.bias"]
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-2)


class Root(nn.Linear):
    """Its gradient at zero is no number; its loss there is one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).abs().sqrt()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "size"), [(nn.Linear, 1e18), (Root, 1.0)])
def test_a_norm_that_is_not_finite_ends_the_job(
    make_dataset: Callable[..., Dataset],
    program_of: Any,
    guarding: Any,
    dtype: torch.dtype,
    kind: type[nn.Linear],
    size: float,
) -> None:
    x = torch.full((8, 4), size)
    dataset = make_dataset(x, x.clone(), dtype)
    spec = FineTune(learning_rate=1e-3, batch_size=8, clip_norm=1.0)
    on = Course(dataset.all(), dataset.all(), objective_for(Regression(), OUTPUTS), spec, seed=0, device=CPU)
    module = kind(4, 4, bias=False, dtype=dtype)
    nn.init.zeros_(module.weight)
    # Loss and gradients of the first are about 1e36, finite; their squares in the norm are not.
    with pytest.raises(Diverged, match=r"norm of the gradients .*round 0, step 1 of 1"):
        fine_tune(program_of(module), on, guarding({}), 0, 1)


def test_a_step_that_overflows_float16_is_left_out_though_it_is_clipped(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any
) -> None:
    x = torch.full((64, 1), 8.0)
    dataset = make_dataset(x, x.clone(), torch.float16)
    spec = FineTune(learning_rate=1e-3, batch_size=4, accumulate=2, clip_norm=1.0, optimizer=PLAIN, curve="constant")
    on = Course(dataset.all(), dataset.all(), objective_for(Regression(), OUTPUTS), spec, seed=0, device=CPU)
    module = nn.Linear(1, 1, bias=False, dtype=torch.float16)
    nn.init.zeros_(module.weight)
    seen: list[float] = []
    fine_tune(program_of(module), on, guarding({}), 0, 1, on_step=lambda _: seen.append(module.weight.item()))
    # The scale begins at 65536 and is halved until a gradient of -128 fits.
    assert seen[0] == 0
    assert seen == pytest.approx([1e-3 * max(0, step + 1 - seen.count(0)) for step in range(8)], rel=1e-2)
    assert seen[-1] > 0


def test_the_loss_after_an_epoch_is_not_smoothed(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    module = network()
    on = course(batch_size=50, label_smoothing=0.4)
    outcome = fine_tune(program_of(module), on, guarding({}), ROUND, 1)
    (x,), y = on.validation.batch(np.arange(150))
    assert outcome.recovered.loss == pytest.approx(nn.functional.cross_entropy(module(x), y).item(), rel=1e-5)


def test_training_smooths_labels_as_torch_does(course: Callable[..., Course], trained: Any) -> None:
    chosen = course(60, 0.3, batch_size=60, label_smoothing=0.3, curve="constant")
    module = network()
    (x,), y = chosen.train.batch(permutation(60, chosen.seed, ROUND, 1))
    nn.functional.cross_entropy(module(x), y, label_smoothing=0.3).backward()
    torch.optim.SGD(module.parameters(), 0.05).step()
    assert close(trained(network(), chosen), after(module))
