"""One round of training: equal to a plain loop, pruned weights at zero, the best epoch kept, and exact after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from secateur.errors import Diverged, JobFailed
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification, Regression
from secateur.spec.training import AdamW, Sgd
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import Score, objective_for
from worker.recovery.order import permutation
from worker.recovery.state import TrainState
from worker.recovery.train import Moment, fine_tune

CPU = torch.device("cpu")
OUTPUTS = [TensorInfo(name="0", dtype="float32", shape=("batch", 3))]
RECIPES = {
    "sgd": Sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
    "plain": Sgd(momentum=0, nesterov=False, weight_decay=0),
    "adamw": AdamW(),
}


class Killed(Exception):
    pass


def network(dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))
    return layers.to(dtype)


def masks_of(module: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    masks = {n: torch.rand(p.shape, generator=generator) > 0.5 for n, p in module.named_parameters() if p.dim() > 1}
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_parameter(name).mul_(mask)
    return masks


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course on 45 training and 20 validation examples of 3 classes that can be learned."""

    def make(dtype: torch.dtype = torch.float32, task: str = "classification", **recipe: Any) -> Course:
        x = torch.randn(65, 5, generator=torch.Generator().manual_seed(2))
        classes = x[:, :3].argmax(dim=1)
        dataset = make_dataset(x, classes if task == "classification" else x[:, :3] * 2, dtype)
        spec = FineTune(**{"learning_rate": 0.05, "batch_size": 11, **recipe})
        objective = objective_for(Classification() if task == "classification" else Regression(), OUTPUTS)
        train, validation = Subset(dataset, np.arange(45)), Subset(dataset, np.arange(45, 65))
        return Course(train, validation, objective, spec, seed=7, device=CPU)

    return make


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def score_of(program: Any, course: Course) -> Score:
    return evaluate(program, course.validation, course.objective, course.spec.batch_size, CPU)


def plain_loop(
    module: nn.Module, course: Course, optimizer: torch.optim.Optimizer, epochs: int, cosine: bool
) -> list[Any]:
    """Textbook training with torch alone; the state dicts after each epoch."""
    x, y = course.train.batch(np.arange(len(course.train)))
    size, rate = course.spec.batch_size, course.spec.rate
    batches = math.ceil(len(y) / size) - (len(y) % size == 1)
    snapshots = [weights_of(module)]
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(permutation(len(y), course.seed, 3, epoch))
        module.train()
        for batch in range(batches):
            if cosine:
                step = (epoch - 1) * batches + batch
                optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / (epochs * batches))) / 2
            rows = order[batch * size : (batch + 1) * size]
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[0][rows]), y[rows]).backward()
            optimizer.step()
        snapshots.append(weights_of(module))
    return snapshots


@pytest.mark.parametrize("batch_size", [11, 15, 45, 100])
@pytest.mark.parametrize("kind", list(RECIPES))
@pytest.mark.parametrize("curve", ["cosine", "constant"])
def test_it_is_the_textbook_loop_bit_for_bit(
    course: Callable[..., Course], program_of: Any, guarding: Any, kind: str, curve: str, batch_size: int
) -> None:
    chosen = course(optimizer=RECIPES[kind], curve=curve, batch_size=batch_size)
    ours, theirs = network(), network()
    recipe = chosen.spec.optimizer
    if isinstance(recipe, Sgd):
        options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay}
        optimizer: torch.optim.Optimizer = torch.optim.SGD(theirs.parameters(), 0.05, **options)
    else:
        optimizer = torch.optim.AdamW(theirs.parameters(), 0.05, weight_decay=recipe.weight_decay, fused=True)
    outcome = fine_tune(program_of(ours), chosen, guarding({}), 3, 3)
    snapshots = plain_loop(theirs, chosen, optimizer, 3, curve == "cosine")
    assert equal(weights_of(ours), snapshots[outcome.best_epoch])
    assert outcome.best_epoch > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", list(RECIPES))
def test_pruned_weights_are_zero_after_every_step(
    course: Callable[..., Course], program_of: Any, guarding: Any, kind: str, dtype: torch.dtype
) -> None:
    module = network(dtype=dtype)
    masks = masks_of(module)
    seen = []

    def look(moment: Moment) -> None:
        seen.append(all((module.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items()))

    fine_tune(program_of(module), course(dtype, optimizer=RECIPES[kind]), guarding(masks), 0, 2, on_step=look)
    assert len(seen) == 2 * 4
    assert all(seen)


def test_training_helps_and_leaves_the_best_epoch_with_its_statistics(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    module = network()
    after: list[tuple[float, dict[str, torch.Tensor]]] = []
    chosen = course()
    pruned = score_of(program_of(module), chosen)
    outcome = fine_tune(
        program_of(module),
        chosen,
        guarding(masks_of(module)),
        0,
        8,
        on_epoch=lambda _, score: after.append((score.value, weights_of(module))),
    )
    assert outcome.recovered.value > pruned.value
    assert outcome.recovered.value == max(value for value, _ in after)
    assert equal(weights_of(module), after[outcome.best_epoch - 1][1])
    assert not module.training


@pytest.mark.parametrize("epochs", [0, 2])
def test_training_that_does_harm_is_undone(
    course: Callable[..., Course], program_of: Any, guarding: Any, epochs: int
) -> None:
    module = network()
    fine_tune(program_of(module), course(), guarding({}), 0, 20)
    before, pruned = weights_of(module), score_of(program_of(module), course())
    outcome = fine_tune(program_of(module), course(learning_rate=50.0), guarding({}), 1, epochs)
    assert outcome.best_epoch == 0
    assert outcome.recovered == pruned
    assert equal(weights_of(module), before)


def test_a_last_batch_of_one_is_left_out_where_there_are_others(course: Callable[..., Course]) -> None:
    assert course(batch_size=44).batches() == 1
    assert course(batch_size=22).batches() == 2
    assert course(batch_size=43).batches() == 2
    assert course(batch_size=1).batches() == 45
    assert course(batch_size=64).batches() == 1


CLIPPED = {"batch_size": 5, "accumulate": 2, "clip_norm": 0.3}
CASES: list[tuple[str, torch.dtype, str, bool, dict[str, Any]]] = [
    ("sgd", torch.float32, "classification", True, {}),
    ("adamw", torch.float32, "regression", True, {}),
    ("adamw", torch.bfloat16, "classification", False, {}),
    ("sgd", torch.float16, "classification", True, {}),
    ("adamw", torch.float16, "classification", True, {}),
    ("sgd", torch.float32, "classification", False, {**CLIPPED, "curve": "one_cycle", "label_smoothing": 0.1}),
    ("adamw", torch.float16, "classification", True, {**CLIPPED, "curve": "step", "warmup_steps": 6}),
]


@pytest.mark.parametrize(("kind", "dtype", "task", "reset", "more"), CASES)
@pytest.mark.parametrize("stop", [1, 4, 6, 8])
@pytest.mark.parametrize("at", ["step", "epoch"])
def test_a_killed_round_ends_like_an_undisturbed_one(
    tmp_path: Path,
    course: Callable[..., Course],
    program_of: Any,
    guarding: Any,
    kind: str,
    dtype: torch.dtype,
    task: str,
    reset: bool,
    more: dict[str, Any],
    stop: int,
    at: str,
) -> None:
    chosen = course(dtype, task, optimizer=RECIPES[kind], reset_optimizer=reset, **more)
    first = network(0.3, dtype)
    guard = guarding(masks_of(first))
    carried = fine_tune(program_of(first), chosen, guard, 0, 1).state
    start = weights_of(first)
    undisturbed, killed, resumed = (network(0.3, dtype) for _ in range(3))
    for module in (undisturbed, killed):
        module.load_state_dict(start)
    expected = fine_tune(program_of(undisturbed), chosen, guard, 1, 3, carried)

    def kill(moment: Moment, *_: Any) -> None:
        if moment.step >= stop:
            state = moment.state()
            save_file(state.tensors, tmp_path / "state", {"facts": json.dumps(state.facts)})
            raise Killed

    events: dict[str, Any] = {"on_step": kill} if at == "step" else {"on_epoch": kill}
    with pytest.raises(Killed):
        fine_tune(program_of(killed), chosen, guard, 1, 3, carried, **events)
    torch.manual_seed(999)
    got = fine_tune(program_of(resumed), chosen, guard, 1, 3, read_state(tmp_path / "state"))
    assert equal(weights_of(resumed), weights_of(undisturbed))
    assert (got.best_epoch, got.recovered) == (expected.best_epoch, expected.recovered)
    assert equal(got.state.tensors, expected.state.tensors)


def read_state(path: Path) -> TrainState:
    with safe_open(path, "pt") as file:
        return TrainState({name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"]))  # noqa: SIM118


@pytest.mark.parametrize("reset", [True, False])
def test_moments_leave_the_round_only_where_the_next_one_reads_them(
    course: Callable[..., Course], program_of: Any, guarding: Any, reset: bool
) -> None:
    chosen = course(optimizer=RECIPES["adamw"], reset_optimizer=reset)
    state = fine_tune(program_of(network()), chosen, guarding({}), 4, 1).state
    assert state.round_index == 4
    assert bool(state.tensors) is not reset


def test_a_known_score_is_not_measured_again(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    class Counting(nn.Sequential):
        evaluated = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.evaluated += not self.training
            result: torch.Tensor = super().forward(x)
            return result

    results = []
    for known in (False, True):
        module = Counting(*network())
        pruned = score_of(program_of(module), course()) if known else None
        module.evaluated = 0
        outcome = fine_tune(program_of(module), course(), guarding({}), 0, 2, pruned=pruned)
        assert module.evaluated == 2 * (2 if known else 3)
        results.append((outcome.recovered, outcome.best_epoch))
    assert results[0] == results[1]


@pytest.mark.parametrize("resumed", [True, False])
def test_a_state_is_let_go_before_training_begins(
    tmp_path: Path, course: Callable[..., Course], program_of: Any, guarding: Any, resumed: bool
) -> None:
    chosen = course(optimizer=RECIPES["adamw"], reset_optimizer=False)

    def save(moment: Moment, *_: Any) -> None:
        state = moment.state()
        save_file(state.tensors, tmp_path / "state", {"facts": json.dumps(state.facts)})

    fine_tune(program_of(network()), chosen, guarding({}), 1, 2, on_epoch=save)
    states = [read_state(tmp_path / "state")]
    watched = [ref(tensor) for name, tensor in states[0].tensors.items() if name.startswith(("program", "optimizer"))]
    alive: list[bool] = []

    def look(_: Moment) -> None:
        alive.append(any(tensor() is not None for tensor in watched))

    later = 1 if resumed else 2
    fine_tune(program_of(network()), chosen, guarding({}), later, 3, states.pop(), on_step=look)
    assert watched
    assert alive
    assert not any(alive)


def test_dropout_is_alive_and_seeded(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    results = []
    for dropout in (0.0, 0.5, 0.5):
        module = network(dropout)
        fine_tune(program_of(module), course(), guarding({}), 0, 1, on_step=lambda _: torch.rand(3))
        results.append(weights_of(module))
    assert equal(results[1], results[2])
    assert not equal(results[0], results[1])


def test_the_optimizer_forgets_between_rounds_unless_told_otherwise(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    def second_round(reset: bool, carry: bool) -> dict[str, torch.Tensor]:
        module = network()
        chosen = course(reset_optimizer=reset, batch_size=45)
        state = fine_tune(program_of(module), chosen, guarding({}), 0, 1).state
        fine_tune(program_of(module), chosen, guarding({}), 1, 1, state if carry else None)
        return weights_of(module)

    assert equal(second_round(reset=True, carry=True), second_round(reset=True, carry=False))
    assert not equal(second_round(reset=False, carry=True), second_round(reset=False, carry=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_round_prunes_anew_stays_zero_though_momentum_is_carried(
    course: Callable[..., Course], program_of: Any, guarding: Any, dtype: torch.dtype
) -> None:
    module = network(dtype=dtype)
    chosen = course(dtype, reset_optimizer=False)
    state = fine_tune(program_of(module), chosen, guarding({}), 0, 1).state
    masks = masks_of(module)
    fine_tune(program_of(module), chosen, guarding(masks), 1, 2, state)
    assert all((module.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def test_masks_hold_for_the_weights_from_before_the_training_too(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    module = network()
    masks = masks_of(network())
    outcome = fine_tune(program_of(module), course(), guarding(masks), 0, 0)
    assert outcome.best_epoch == 0
    assert all((module.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def test_small_updates_add_up_in_half_precision(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any
) -> None:
    dataset = make_dataset(torch.ones(64, 1), torch.full((64, 1), 1e3), torch.bfloat16)
    module = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    with torch.no_grad():
        module.weight.fill_(256.0)
    recipe = FineTune(learning_rate=1e-4, batch_size=1, curve="constant", optimizer=RECIPES["plain"])
    objective = objective_for(Regression(), OUTPUTS)
    course = Course(dataset.all(), dataset.all(), objective, recipe, seed=0, device=CPU)
    fine_tune(program_of(module), course, guarding({}), 0, 1)
    # Each of the 64 steps adds about 0.15; bfloat16 at 256 has a spacing of 2.
    assert 264 <= module.weight.item() <= 268


def test_a_loss_that_is_not_finite_ends_the_job(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    chosen = course(task="regression", learning_rate=1e3, optimizer=RECIPES["plain"])
    with pytest.raises(Diverged, match="finite"):
        fine_tune(program_of(nn.Linear(5, 3)), chosen, guarding({}), 0, 50)


def test_statistics_that_are_ruined_end_the_job(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    module = network()
    module.get_buffer("1.running_mean").fill_(math.nan)
    with pytest.raises(Diverged, match="after epoch 1"):
        fine_tune(program_of(module), course(), guarding({}), 0, 2)


def test_gradients_too_large_for_half_precision_end_the_job(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any
) -> None:
    dataset = make_dataset(torch.full((64, 1), 6e4), torch.full((64, 1), 6e4), torch.float16)
    recipe = FineTune(learning_rate=1e-6, batch_size=1)
    course = Course(dataset.all(), dataset.all(), objective_for(Regression(), OUTPUTS), recipe, seed=0, device=CPU)
    module = nn.Linear(1, 1, bias=False, dtype=torch.float16)
    with torch.no_grad():
        module.weight.zero_()
    with pytest.raises(Diverged, match="overflow"):
        fine_tune(program_of(module), course, guarding({}), 0, 1)


def test_frozen_parameters_are_trained_too(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    module = network().requires_grad_(False)
    before = weights_of(module)
    fine_tune(program_of(module), course(), guarding({}), 0, 5)
    assert all(not torch.equal(before[name], tensor) for name, tensor in module.named_parameters())


def test_a_program_without_influence_is_refused(course: Callable[..., Course], program_of: Any, guarding: Any) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3]

    with pytest.raises(JobFailed, match="nothing to train"):
        fine_tune(program_of(Constant()), course(), guarding({}), 0, 1)


def test_batches_without_a_scored_label_change_nothing(
    make_dataset: Callable[..., Dataset], program_of: Any, guarding: Any
) -> None:
    dataset = make_dataset(torch.randn(20, 5), torch.tensor([-100] * 18 + [0, 1]))
    recipe = FineTune(learning_rate=0.1, batch_size=2)
    objective = objective_for(Classification(), OUTPUTS)
    course = Course(dataset.all(), dataset.all(), objective, recipe, seed=0, device=CPU)
    module = network()
    fine_tune(program_of(module), course, guarding({}), 0, 3)
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
