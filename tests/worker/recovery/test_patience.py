"""A round that ends early: when, and as if it had not been meant to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification
from worker.recovery.best import better
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.objective import Score, objective_for
from worker.recovery.state import TrainState
from worker.recovery.train import Moment, fine_tune

EPOCHS = 12
OBJECTIVE = objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])


class Killed(Exception):
    pass


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    """Makes a course at a rate that goes up and down as much as it goes up."""

    def make(patience: int | None) -> Course:
        x = torch.randn(60, 5, generator=torch.Generator().manual_seed(2))
        dataset = make_dataset(x, x[:, :3].argmax(dim=1))
        spec = FineTune(learning_rate=1.0, batch_size=10, patience=patience)
        parts = (Subset(dataset, np.arange(40)), Subset(dataset, np.arange(40, 60)))
        return Course(*parts, OBJECTIVE, spec, seed=7, device=torch.device("cpu"))

    return make


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def last_epoch(scores: list[Score], patience: int) -> tuple[int, int]:
    """After which epoch it ends, and which was the best by then; the first score is from before the training."""
    best = 0
    for epoch, score in enumerate(scores):
        if better(score, scores[best], OBJECTIVE.higher_is_better):
            best = epoch
        if epoch - best == patience:
            return epoch, best
    return len(scores) - 1, best


@pytest.mark.parametrize("patience", [1, 2, 3, 5, EPOCHS, 10_000])
def test_a_round_ends_after_so_many_epochs_without_a_better_one(
    course: Callable[..., Course], program_of: Any, guarding: Any, patience: int
) -> None:
    known, found = network(), network()
    pruned = Score(value=0.3, examples=20, standard_error=0.1, loss=2.0)
    scores, states, heard = [pruned], [weights_of(known)], []

    def listen(_: Moment, score: Score) -> None:
        scores.append(score)
        states.append(weights_of(known))

    everything = (guarding({}), 0, EPOCHS)
    fine_tune(program_of(known), course(None), *everything, pruned=pruned, on_epoch=listen)
    outcome = fine_tune(program_of(found), course(patience), *everything, pruned=pruned, on_step=heard.append)
    assert (outcome.epochs, outcome.best_epoch) == last_epoch(scores, patience)
    assert outcome.epochs < EPOCHS or patience > 3
    assert equal(weights_of(found), states[outcome.best_epoch])  # the rates were those of all epochs
    assert heard[-1].step == outcome.epochs * 4
    assert {moment.steps for moment in heard} == {EPOCHS * 4}


@pytest.mark.parametrize("at", [1, 5, 11, 12])
def test_a_killed_round_is_as_patient_as_an_undisturbed_one(
    course: Callable[..., Course], program_of: Any, guarding: Any, at: int
) -> None:
    undisturbed, resumed = network(), network()
    expected = fine_tune(program_of(undisturbed), course(2), guarding({}), 0, EPOCHS)
    states: list[TrainState] = []

    def kill(moment: Moment, *_: Any) -> None:
        if moment.step == at:
            state = moment.state()
            states.append(TrainState({name: tensor.clone() for name, tensor in state.tensors.items()}, state.facts))
            raise Killed

    with pytest.raises(Killed):
        fine_tune(program_of(network()), course(2), guarding({}), 0, EPOCHS, on_epoch=kill, on_step=kill)
    outcome = fine_tune(program_of(resumed), course(2), guarding({}), 0, EPOCHS, states[0])
    assert (outcome.epochs, outcome.best_epoch) == (expected.epochs, expected.best_epoch)
    assert outcome.epochs < EPOCHS
    assert equal(weights_of(resumed), weights_of(undisturbed))
