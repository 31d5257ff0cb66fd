"""Too little memory for a batch: it goes through the program in parts, and the step stays the same step."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.errors import JobFailed, OutOfMemory
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification
from worker.program.reader import read
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.evaluate import evaluate
from worker.recovery.objective import objective_for
from worker.recovery.portion import Portion
from worker.recovery.state import TrainState
from worker.recovery.train import Moment, fine_tune

CPU = torch.device("cpu")
OBJECTIVE = objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])


class Cramped(nn.Module):
    """Has memory for so many examples at once; with more of them it fails as a device does."""

    def __init__(self, room: int, where: str = "forward") -> None:
        super().__init__()
        self.room, self.where = room, where

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.where == "forward" and len(x) > self.room:
            fail()
        if self.where == "backward" and len(x) > self.room and x.requires_grad:
            x.register_hook(fail)
        return x


def fail(*_: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB.")


def network(room: int = 1000, where: str = "forward", *, normed: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8) if normed else nn.Tanh()
    return nn.Sequential(nn.Linear(5, 8), norm, Cramped(room, where), nn.Dropout(0.2 * normed), nn.Linear(8, 3))


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course on 50 training and 30 validation examples."""

    def make(notes: list[str] | None = None, at_once: int | None = None, **recipe: Any) -> Course:
        x = torch.randn(80, 5, generator=torch.Generator().manual_seed(2))
        dataset = make_dataset(x, x[:, :3].argmax(dim=1))
        spec = FineTune(**{"learning_rate": 0.05, "batch_size": 16, **recipe})
        train, validation = Subset(dataset, np.arange(50)), Subset(dataset, np.arange(50, 80))
        heard = [].append if notes is None else notes.append
        return Course(train, validation, OBJECTIVE, spec, 7, CPU, at_once, heard)

    return make


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Without the counter that Python adds to, which a graph has not."""
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@given(st.integers(1, 300), st.integers(1, 100))
def test_parts_are_few_and_equal_and_hold_everything(length: int, size: int) -> None:
    parts = Portion(size, str.format).parts(length)
    sizes = [part.stop - part.start for part in parts]
    assert [at for part in parts for at in range(part.start, part.stop)] == list(range(length))
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-length // size)
    assert length == 1 or size < 3 or min(sizes) > 1, "batch norm can do nothing with a single example"


@pytest.mark.parametrize("size", [2, 3, 5, 64])
def test_two_are_tried_before_one(size: int) -> None:
    tried: list[int] = []
    portion = Portion(size, "from {} to {}".format)

    def work() -> None:
        tried.append(portion.size)
        if portion.size > 1:
            raise OutOfMemory

    portion.fitting(work)
    assert tried[-2:] == [2, 1]


@pytest.mark.parametrize("size", [2, 3])
def test_batch_norm_that_gets_a_single_example_is_told(
    size: int, course: Callable[..., Course], guarding: Any, tmp_path: Path
) -> None:
    """Of a channel it has one value then, which varies by nothing that could be computed."""
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    torch.export.save(torch.export.export(module, (torch.randn(4, 5),), dynamic_shapes=dynamic), tmp_path / "net.pt2")
    recipe = course(at_once=size, batch_size=5)  # in parts of 2, 2 and 1, or of 3 and 2
    if size == 3:
        fine_tune(read(tmp_path / "net.pt2"), recipe, guarding({}), 0, 1)
        return
    with pytest.raises(JobFailed, match="single example") as failed:
        fine_tune(read(tmp_path / "net.pt2"), recipe, guarding({}), 0, 1)
    assert "batch_size" in str(failed.value.remedy)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_in_parts_is_the_same_step(
    course: Callable[..., Course], program_of: Any, guarding: Any, where: str, accumulate: int
) -> None:
    recipe = {"accumulate": accumulate, "clip_norm": 0.5, "label_smoothing": 0.1}
    whole, parted = network(normed=False), network(5, where, normed=False)
    fine_tune(program_of(whole), course(**recipe), guarding({}), 0, 2)
    fine_tune(program_of(parted), course(**recipe), guarding({}), 0, 2)
    for name, tensor in weights_of(parted).items():
        assert torch.allclose(tensor, weights_of(whole)[name], rtol=0, atol=1e-6), name


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_pass_that_failed_leaves_no_trace(
    course: Callable[..., Course], program_of: Any, guarding: Any, where: str
) -> None:
    """Neither in gradients, nor in the statistics of batch norm, nor in what dropout draws."""
    notes: list[str] = []
    known, found = network(), network(4, where)
    expected = fine_tune(program_of(known), course(at_once=4), guarding({}), 0, 2)
    outcome = fine_tune(program_of(found), course(notes), guarding({}), 0, 2)
    assert equal(weights_of(found), weights_of(known))
    assert outcome.best_epoch == expected.best_epoch
    trained = [note for note in notes if "train on" in note]
    assert ["16 examples" in trained[0], "8 examples" in trained[1], len(trained)] == [True, True, 2]


def test_a_killed_round_goes_on_with_the_smaller_parts(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    undisturbed, roomy = network(4), network()
    fine_tune(program_of(undisturbed), course(), guarding({}), 0, 2)
    states: list[TrainState] = []

    def keep(moment: Moment) -> None:
        state = moment.state()
        states.append(TrainState({name: tensor.clone() for name, tensor in state.tensors.items()}, state.facts))

    fine_tune(program_of(network(4)), course(), guarding({}), 0, 2, on_step=keep)
    fine_tune(program_of(roomy), course(), guarding({}), 0, 2, states[2])
    assert states[2].facts["portion"] == 4
    assert equal(weights_of(roomy), weights_of(undisturbed))


def test_where_a_single_example_is_too_much_the_job_ends(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    notes: list[str] = []
    with pytest.raises(OutOfMemory):
        fine_tune(program_of(network(0, "backward", normed=False)), course(notes), guarding({}), 0, 1)
    assert len(notes) == 4
    with pytest.raises(OutOfMemory):
        evaluate(program_of(network(0)), course().validation, OBJECTIVE, 16, CPU)


@pytest.mark.parametrize("room", [1, 3, 16])
def test_an_evaluation_in_parts_scores_the_same(course: Callable[..., Course], program_of: Any, room: int) -> None:
    notes: list[str] = []
    done: list[int] = []
    examples = course().validation
    expected = evaluate(program_of(network()), examples, OBJECTIVE, 16, CPU)
    score = evaluate(
        program_of(network(room)), examples, OBJECTIVE, 16, CPU, lambda at, _: done.append(at), notes.append
    )
    assert (score.value, score.examples) == (expected.value, expected.examples)
    assert score.loss == pytest.approx(expected.loss, rel=1e-6)
    assert done == sorted(set(done))
    assert done[-1] == 30
    assert len(notes) == {1: 4, 3: 3, 16: 0}[room]


def test_what_did_not_fit_is_let_go_before_the_next_try(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    """Or there would be no more memory for the half than there was for the whole."""
    watched: list[ref[torch.Tensor]] = []
    alive: list[bool] = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            alive.append(any(tensor() is not None for tensor in watched))
            watched[:] = [ref(x)]
            return x

    layers = list(network(4, normed=False))
    module = nn.Sequential(*layers[:2], Watching(), *layers[2:])
    gc.disable()
    try:
        fine_tune(program_of(module), course(batch_size=50), guarding({}), 0, 1)
    finally:
        gc.enable()
    assert len(alive) > 4
    assert not any(alive[:4])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_no_memory_for_the_optimizer_ends_the_job_and_says_so(
    course: Callable[..., Course], program_of: Any, guarding: Any, optimizer: str
) -> None:
    """Its moments are there from the first update on; half of an update cannot be done again."""

    def guard(weights: Any, taken: Any) -> Any:
        if taken is not None:
            taken.register_step_pre_hook(fail)
        return guarding({})(weights, taken)

    notes: list[str] = []
    with pytest.raises(OutOfMemory, match="memory"):
        fine_tune(program_of(network()), course(notes, optimizer={"kind": optimizer}), guard, 0, 1)
    assert not notes
