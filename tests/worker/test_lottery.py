"""Lottery tickets and rewound learning rates, as whole jobs beside plain loops over an ordinary module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from secateur.errors import InvalidSpec
from secateur.report import Report
from secateur.spec.rewinding import LotteryTicket
from tests.worker.jobs import checkpoints, digests, export, order, run
from tests.worker.networks import CLASSES, Case, images, labels
from worker.lottery import Lottery
from worker.methods.method import Network
from worker.order import JobOrder
from worker.program.reader import read
from worker.recovery.best import tensors_of

EPOCHS, RATE = 4, 0.2
TICKET = {
    "kind": "lottery_ticket", "learning_rate": RATE, "epochs": EPOCHS, "batch_size": 24, "curve": "step",
    "optimizer": {"kind": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
}  # fmt: skip
STEP = [1.0, 1.0, 0.1, 0.01]
"""The curve `step` over four epochs of one step."""


def made(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, CLASSES))


@pytest.fixture
def case() -> Case:
    torch.manual_seed(1)
    x = images(6)
    return Case(made().eval(), (x[:2],), {"input": x, "target": labels()})


def job(folder: Path, case: Case, recover: Mapping[str, Any] = TICKET, rounds: int = 2, **changes: Any) -> JobOrder:
    """A job that trains on all examples at once and chooses by the same ones."""
    prune = {
        "target": {"kind": "sparsity", "amount": 0.5},
        "schedule": {"kind": "iterative", "rounds": rounds, "curve": "geometric"},
        **changes.pop("prune", {}),
    }
    spec = {"recover": {**recover}, "prune": prune, "finalize": {"latency": None}}
    wanted = order(folder, case, spec=spec, **changes)
    data = wanted.spec.data.model_copy(update={"validation": wanted.spec.data.train})
    return wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"data": data})})


def reference(case: Case, net: nn.Module, masks: Mapping[str, Tensor], since: int = 0) -> nn.Module:
    """Trains by the curve from epoch `since` on, with masked weights, and gives the best network on the same data."""
    x, target = case.arrays["input"], case.arrays["target"]
    best, kept = None, copy.deepcopy(net)
    for rate in (None, *STEP[since:]):
        if rate is not None:
            grads = torch.autograd.grad(cross_entropy(net(x), target), list(net.parameters()))
            with torch.no_grad():
                for (name, weight), grad in zip(net.named_parameters(), grads, strict=True):
                    weight -= RATE * rate * grad
                    weight *= masks.get(name, 1)
        score = (float((net(x).argmax(1) == target).float().mean()), -cross_entropy(net(x), target).item())
        if best is None or score > best:
            best, kept = score, copy.deepcopy(net)
    return kept


def smallest(net: nn.Module, amount: float) -> dict[str, Tensor]:
    """Masks of a global ranking of the weights, by sorting."""
    weights = {name: p.detach() for name, p in net.named_parameters() if p.dim() == 2}
    every = torch.cat([w.abs().flatten() for w in weights.values()])
    limit = every.sort().values[round(amount * len(every)) - 1]
    return {name: (weight.abs() > limit) for name, weight in weights.items()}


def assert_equal(wanted: JobOrder, net: nn.Module) -> None:
    state = load_file(Path(wanted.folder) / "model.safetensors")
    for name, weight in net.named_parameters():
        torch.testing.assert_close(state[name], weight.detach(), rtol=1e-4, atol=1e-6)


def reset(net: nn.Module, values: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    net.load_state_dict(values.state_dict())
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)
    return net


def test_a_ticket_is_trained_from_its_exact_initial_values(case: Case, tmp_path: Path) -> None:
    """Train dense, prune the smallest, reset the survivors, train: twice (Frankle & Carbin 2019)."""
    wanted = job(tmp_path, case)
    report = run(wanted).report

    net = reference(case, made(), {})
    for amount in (1 - 0.5**0.5, 0.5):
        masks = smallest(net, amount)
        net = reference(case, reset(net, made(), masks), masks)

    assert_equal(wanted, net)
    assert [each.epochs for each in report.rounds] == [EPOCHS, EPOCHS]
    x, target = case.arrays["input"], case.arrays["target"]
    assert report.metric.initial == pytest.approx(float((made()(x).argmax(1) == target).float().mean()))
    assert report.metric.dense == pytest.approx(
        float((reference(case, made(), {})(x).argmax(1) == target).float().mean())
    )


def test_a_late_ticket_goes_back_to_the_values_of_an_epoch(case: Case, tmp_path: Path) -> None:
    """The curve goes on from that epoch (Frankle et al. 2020)."""
    wanted = job(tmp_path, case, {**TICKET, "rewind_epoch": 2}, rounds=1)
    report = run(wanted).report

    early = made()
    for _ in range(2):
        loss = cross_entropy(early(case.arrays["input"]), case.arrays["target"])
        grads = torch.autograd.grad(loss, list(early.parameters()))
        with torch.no_grad():
            for weight, grad in zip(early.parameters(), grads, strict=True):
                weight -= RATE * grad
    masks = smallest(reference(case, made(), {}), 0.5)

    assert_equal(wanted, reference(case, reset(made(), early, masks), masks, since=2))
    assert report.rounds[0].epochs == EPOCHS - 2


def test_a_network_that_comes_with_its_initialisation_is_not_trained_again(case: Case, tmp_path: Path) -> None:
    initial = tmp_path / "initial.pt2"
    export(case, initial)
    trained = reference(case, made(), {})
    given = Case(copy.deepcopy(trained), case.inputs, case.arrays)
    wanted = job(
        tmp_path, given, {**TICKET, "initial": "mdl_01K00000000000000000000000"}, rounds=1, initial=str(initial)
    )
    report = run(wanted).report

    masks = smallest(trained, 0.5)
    assert_equal(wanted, reference(case, reset(copy.deepcopy(trained), made(), masks), masks))
    assert report.metric.initial is None


def test_the_initialisation_of_another_network_is_refused(case: Case, tmp_path: Path) -> None:
    other = tmp_path / "initial.pt2"
    net = nn.Sequential(nn.Linear(6, 11), nn.Tanh(), nn.Linear(11, CLASSES))
    export(Case(net, case.inputs, case.arrays), other)
    wanted = job(tmp_path, case, {**TICKET, "initial": "mdl_01K00000000000000000000000"}, initial=str(other))
    with pytest.raises(InvalidSpec, match="no earlier state"):
        run(wanted)


def test_a_rewound_learning_rate_trains_the_survivors_from_where_they_are(case: Case, tmp_path: Path) -> None:
    """Renda et al. 2020: the weights stay, the curve begins anew."""
    recover = {**TICKET, "kind": "learning_rate_rewind", "original_learning_rate": RATE, "rewind_epoch": 1}
    del recover["learning_rate"]
    wanted = job(tmp_path, case, recover)
    run(wanted)

    net: nn.Module = made()
    for amount in (1 - 0.5**0.5, 0.5):
        masks = smallest(net, amount)
        net = reference(case, reset(net, copy.deepcopy(net), masks), masks, since=1)
    assert_equal(wanted, net)


def controlled(report: Report) -> list[tuple[bool, bool]]:
    """Of each round, whether there is a ticket, and whether it was compared."""
    found = [each.ticket for each in report.rounds]
    return [(t is not None, t is not None and None not in (t.random_reinit, t.random_mask)) for t in found]


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ("none", [(False, False)] * 2),
        ("last_round", [(False, False), (True, True)]),
        ("every_round", [(True, True)] * 2),
    ],
)
def test_controls_change_nothing_of_the_ticket(
    controls: str, expected: list[tuple[bool, bool]], case: Case, tmp_path: Path
) -> None:
    plain, wanted = job(tmp_path, case), job(tmp_path, case, {**TICKET, "controls": controls})
    run(plain)
    report = run(wanted).report
    assert controlled(report) == expected
    assert digests(wanted) == digests(plain)
    if controls != "none":
        assert report.rounds[-1].ticket is not None
        assert report.rounds[-1].ticket.ticket == report.metric.recovered


def conv() -> Case:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, CLASSES)
    )
    return Case(net.eval(), (x[:2],), {"input": x, "target": labels()})


UNITS = {"granularity": "channel", "target": {"kind": "units", "amount": 0.5}}


@pytest.mark.parametrize("make", [pytest.param(None, id="weights"), pytest.param(conv, id="units")])
@pytest.mark.parametrize("late", [0, 2])
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(
    make: Callable[[], Case] | None, late: int, case: Case, tmp_path: Path
) -> None:
    """In the dense training, between and in rounds, and in the controls."""
    case = case if make is None else make()
    recover = {**TICKET, "epochs": 3, "rewind_epoch": late, "controls": "last_round"}
    how: dict[str, Any] = {"prune": {} if make is None else UNITS}
    whole = job(tmp_path, case, recover, checkpoint_every_s=1e-6, **how)

    kept = checkpoints(whole, tmp_path)
    report = run(job(tmp_path, case, recover, **how)).report

    steps = 3 + 2 * (3 - late) + 3 + (3 - late)
    assert len(kept) == steps + 1 + 2 + 2
    for path, digest in kept[1::5]:
        resumed = job(tmp_path, case, recover, checkpoint=str(path), checkpoint_sha256=digest, attempt=2, **how)
        assert run(resumed).report.rounds == report.rounds
        assert digests(resumed) == digests(whole)


def test_units_go_back_to_the_part_of_the_initial_values_that_is_left(tmp_path: Path) -> None:
    """Trained at a rate of next to nothing, they are where they began."""
    case = conv()
    recover = {**TICKET, "learning_rate": 1e-12, "controls": "last_round"}
    wanted = job(tmp_path, case, recover, prune=UNITS)
    report = run(wanted).report
    state, whole = load_file(Path(wanted.folder) / "model.safetensors"), case.module.state_dict()
    rows = [bool((whole["0.weight"] == row).flatten(1).all(1).any()) for row in state["0.weight"]]
    assert len(rows) == 4
    assert all(rows)
    assert report.proof is not None
    assert report.proof.holds


def test_what_is_drawn_anew_has_the_values_of_the_initialisation(case: Case, tmp_path: Path) -> None:
    """All entries of every parameter, in another order, the same for the same seed."""
    export(case, tmp_path / "model.pt2")
    program = read(tmp_path / "model.pt2")
    seen: list[dict[str, Tensor]] = []

    class Recorder:
        def sibling(self, values: Mapping[str, Tensor], shuffled: int | None = None) -> Network:
            seen.append(dict(values))
            return Network(program, {})

    lottery = Lottery(LotteryTicket(learning_rate=0.1), program, seed=3)
    for index in (1001, 1001, 1002):
        lottery.control("random_reinit", Recorder(), index)  # type: ignore[arg-type]
    for name, tensor in tensors_of(program).items():
        assert torch.equal(seen[0][name].flatten().sort().values, tensor.detach().flatten().sort().values)
        assert torch.equal(seen[0][name], seen[1][name])
        assert not torch.equal(seen[0][name], tensor)
        assert not torch.equal(seen[0][name], seen[2][name])
