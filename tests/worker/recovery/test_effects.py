"""Gradient times weight equals what plain autograd gives, on a program that nobody can tell was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.errors import Diverged, JobFailed, OutOfMemory
from secateur.inspection import TensorInfo
from secateur.spec.task import IGNORED_LABEL, Classification
from worker.pruning.evidence import SUMS
from worker.recovery.calibration import Calibration
from worker.recovery.data import Dataset
from worker.recovery.effects import Effects, effects, moved
from worker.recovery.objective import objective_for
from worker.recovery.order import permutation, seed_of
from worker.recovery.portion import Portion

CPU = torch.device("cpu")
SEED, ROUND = 3, 2

Made = tuple[Calibration, Tensor, Tensor]
Make = Callable[..., Made]


@pytest.fixture
def made(make_dataset: Callable[..., Dataset]) -> Make:
    """Some examples with 3 classes, and their calibration."""
    torch.manual_seed(0)

    def make(
        examples: int = 30,
        batch_size: int = 8,
        wanted: int = 3,
        dtype: torch.dtype = torch.float32,
        targets: Tensor | None = None,
    ) -> Made:
        x = torch.randn(examples, 5).to(dtype)
        y = torch.randint(0, 3, (examples,)) if targets is None else targets
        objective = objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])
        data = make_dataset(x, y, dtype).all()
        return Calibration(data, objective, batch_size, wanted, SEED, CPU), x, y

    return make


def network() -> nn.Sequential:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    module(torch.randn(32, 5))  # or every running mean is 0 and every variance 1
    return module.eval()


def parts(examples: int, batch_size: int, wanted: int) -> list[list[int]]:
    """The batches that a round should see."""
    order = permutation(examples, SEED, ROUND).tolist()[: batch_size * wanted]
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


NAMES = ["0.weight", "1.bias", "4.weight"]


def test_taylor_is_the_formula_of_its_paper(made: Make, program_of: Any) -> None:
    """Molchanov et al. 2019: the mean over batches of (g w)**2, in evaluation mode."""
    calibration, x, y = made()
    module = network()
    squares: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    for part in parts(30, 8, 3):
        module.zero_grad()
        functional.cross_entropy(module(x[part]), y[part]).backward()
        for name in NAMES:
            weight = module.get_parameter(name)
            squares[name].append((weight.grad * weight.detach()).square())
    found = total("taylor", effects(program_of(network()), calibration, NAMES, ROUND))
    for name in NAMES:
        torch.testing.assert_close(found[name], torch.stack(squares[name]).mean(0))


def total(kind: str, found: Any) -> dict[str, Tensor]:
    summed = SUMS[kind]()
    for each in found:
        summed.add(each.of, each.labels)
    return summed.total()


def test_snip_is_the_gradient_of_all_labels_at_once(made: Make, program_of: Any) -> None:
    """Lee et al. 2019, on batches of 8, 8 and 4 examples."""
    calibration, x, y = made(examples=20)
    module = network()
    functional.cross_entropy(module(x), y).backward()
    found = total("snip", effects(program_of(network()), calibration, NAMES, ROUND))
    for name in NAMES:
        weight = module.get_parameter(name)
        torch.testing.assert_close(found[name], (weight.grad * weight.detach()).abs())


def test_movement_is_minus_the_sum_over_steps_of_training(made: Make, program_of: Any) -> None:
    """Sanh et al. 2020, with torch's own optimizer; dropout draws as it does in the loop."""
    calibration, x, y = made()
    module, masks = network().train(), {"4.weight": torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.6}
    program = program_of(network())
    for each in (module, program.module):
        with torch.no_grad():
            each.get_parameter("4.weight").mul_(masks["4.weight"])
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    scores = {name: torch.zeros_like(module.get_parameter(name)) for name in NAMES}
    for step, part in enumerate(parts(30, 8, 3)):
        torch.manual_seed(seed_of(SEED, ROUND, step, 0))
        optimizer.zero_grad()
        functional.cross_entropy(module(x[part]), y[part]).backward()
        for name in NAMES:
            weight = module.get_parameter(name)
            scores[name] -= weight.grad * weight.detach()
        weight = module.get_parameter("4.weight")
        weight.grad.mul_(masks["4.weight"])
        optimizer.step()
    found = total("movement", moved(program, calibration, NAMES, ROUND, masks, 0.1))
    for name in NAMES:
        torch.testing.assert_close(found[name], scores[name], rtol=1e-4, atol=1e-7)
    assert bool((found["0.weight"] > 0).any())
    assert bool((found["0.weight"] < 0).any())


def looked(program: Any, calibration: Calibration, kind: str) -> list[Effects]:
    if kind == "moved":
        return list(moved(program, calibration, NAMES, ROUND, {}, 0.1))
    return list(effects(program, calibration, NAMES, ROUND))


@pytest.mark.parametrize("kind", ["still", "moved"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nobody_can_tell_that_a_program_was_looked_at(
    made: Make, program_of: Any, kind: str, dtype: torch.dtype
) -> None:
    calibration, _, _ = made(dtype=dtype)
    program = program_of(network().to(dtype))
    program.module.get_parameter("0.bias").requires_grad_(False)
    kept = torch.ones(8, 5, dtype=dtype)
    program.module.get_parameter("0.weight").grad = kept
    before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)

    found = looked(program, calibration, kind)

    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.module.state_dict().items())
    grads = {name: parameter.grad for name, parameter in program.named_parameters()}
    assert grads.pop("0.weight") is kept
    assert bool((kept == 1).all())
    assert set(grads.values()) == {None}
    assert [parameter.requires_grad for _, parameter in program.named_parameters()] == [True, False] + 4 * [True]
    assert not program.module.training
    torch.manual_seed(11)  # what ran before, and the state of the generators, do not matter
    again = looked(program, calibration, kind)
    for one, other in zip(found, again, strict=True):
        assert one.labels == other.labels
        assert all(torch.equal(one.of[name], other.of[name]) for name in NAMES)
        assert {tensor.dtype for tensor in one.of.values()} == {torch.float32}


def test_small_gradients_of_float16_are_not_lost(made: Make, program_of: Any) -> None:
    """Of a confident network they are below 6e-8, which is the smallest that float16 can hold."""
    calibration, x, _ = made(dtype=torch.float16)
    halves = network().half()
    with torch.no_grad():
        halves[4].bias.copy_(torch.tensor([0.0, 19.0, 0.0]))
    wide = network()
    wide.load_state_dict(halves.state_dict())
    calibration = replace(calibration, objective=AllOfClassOne(calibration.objective))
    found = total("snip", effects(program_of(halves), calibration, ["4.weight"], ROUND))["4.weight"]
    functional.cross_entropy(
        wide(x[permutation(30, SEED, ROUND)[:24]].float()), torch.ones(24, dtype=torch.int64)
    ).backward()
    expected = (wide[4].weight.grad * wide[4].weight.detach()).abs()
    assert 0 < float(expected.max()) < 6e-8
    torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-10)


class AllOfClassOne:
    """An objective for which every label is 1."""

    def __init__(self, objective: Any) -> None:
        self.select, self.labels, self._loss = objective.select, objective.labels, objective.loss

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self._loss(output, torch.ones_like(target))


@pytest.mark.parametrize(
    ("examples", "batch_size", "wanted", "batches", "used"),
    [(30, 8, 3, 3, 24), (30, 8, 9, 4, 30), (33, 8, 9, 4, 32), (1, 8, 9, 1, 1), (5, 8, 2, 1, 5), (9, 1, 4, 4, 4)],
)
def test_the_examples_are_counted_and_drawn_once(
    made: Make, examples: int, batch_size: int, wanted: int, batches: int, used: int
) -> None:
    calibration, x, _ = made(examples, batch_size, wanted)
    drawn = [inputs for (inputs,), _ in calibration.drawn(ROUND)]
    assert (calibration.batches, calibration.examples) == (batches, used)
    assert (len(drawn), sum(map(len, drawn))) == (batches, used)
    assert torch.equal(torch.cat(drawn), x[permutation(examples, SEED, ROUND)[:used]])
    if examples > 5:
        assert not torch.equal(drawn[0], next(calibration.drawn(ROUND + 1))[0][0])


def test_what_the_loss_does_not_depend_on_scores_zero_and_is_named(made: Make, program_of: Any) -> None:
    module = network()
    module.register_parameter("spare", nn.Parameter(torch.ones(2, 2)))
    calibration, _, _ = made()
    for each in effects(program_of(module), calibration, ["spare", "0.weight"], ROUND):
        assert each.unreached == ("spare",)
        assert torch.equal(each.of["spare"], torch.zeros(2, 2))


def test_a_batch_without_labels_is_left_out(make_dataset: Callable[..., Dataset], made: Make, program_of: Any) -> None:
    calibration, x, _ = made()
    y = torch.full((30,), IGNORED_LABEL)
    y[int(permutation(30, SEED, ROUND)[9])] = 1
    calibration = replace(calibration, train=make_dataset(x, y).all())
    assert [each.labels for each in effects(program_of(network()), calibration, NAMES, ROUND)] == [1]


def test_gradients_that_are_no_numbers_are_an_error(made: Make, program_of: Any) -> None:
    module = network()
    with torch.no_grad():
        module[0].bias.fill_(torch.inf)
    with pytest.raises(Diverged, match="no finite numbers"):
        list(effects(program_of(module), made()[0], NAMES, ROUND))


def test_a_program_that_overwrites_what_gradients_need_is_an_error(made: Make, program_of: Any) -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x).exp()
            return y + y.mul_(2)

    with pytest.raises(JobFailed, match="inplace operation"):
        list(effects(program_of(Overwriting()), made()[0], ["fc.weight"], ROUND))


class Cramped(nn.Module):
    """Has memory for so many examples at once; what it multiplies by has become less when it fails."""

    def __init__(self, room: int, where: str = "forward") -> None:
        super().__init__()
        self.room, self.where = room, where
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale.mul_(0.9)
        if len(x) > self.room and self.where == "forward":
            self.fail()
        if len(x) > self.room and x.requires_grad:
            x.register_hook(self.fail)
        return x * self.scale.clone()

    def fail(self, *_: Tensor) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB.")


def cramped(room: int, where: str = "forward") -> nn.Sequential:
    layers = list(network())
    return nn.Sequential(*layers[:3], Cramped(room, where), layers[4]).eval()


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_batch_in_parts_has_the_effects_of_the_whole(made: Make, program_of: Any, where: str) -> None:
    """Also where labels that do not count are spread unevenly over its parts."""
    notes: list[str] = []
    calibration, _, y = made()
    y[permutation(30, SEED, ROUND)[:3].tolist()] = IGNORED_LABEL
    calibration = replace(made(targets=y)[0], note=notes.append)
    whole = looked(program_of(cramped(8)), calibration, "still")
    assert not notes
    parts = looked(program_of(cramped(3, where)), calibration, "still")
    for one, other in zip(whole, parts, strict=True):
        assert one.labels == other.labels
        for name in NAMES:
            torch.testing.assert_close(one.of[name], other.of[name], rtol=1e-4, atol=1e-7)
    assert ["on 8 examples" in notes[0], "at most 2" in notes[1], len(notes)] == [True, True, 2]


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_pass_without_enough_memory_leaves_no_trace(
    made: Make, program_of: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a network that fails with eight examples gives is what one gives that is only asked for four."""
    calibration, _, _ = made()
    found = looked(program_of(cramped(4, where)), calibration, "moved")
    monkeypatch.setattr(Calibration, "portion", lambda _: Portion(4, str.format))
    expected = looked(program_of(cramped(8)), calibration, "moved")
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one.of[name], other.of[name]) for name in NAMES)


def test_where_a_single_example_is_too_much_nothing_is_gathered(made: Make, program_of: Any) -> None:
    with pytest.raises(OutOfMemory):
        looked(program_of(cramped(0)), made()[0], "still")
