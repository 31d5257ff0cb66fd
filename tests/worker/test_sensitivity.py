"""How much each layer matters: curves against networks that are cut by hand, and jobs that go by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from secateur.sensitivity import Curve
from tests.secateur.spec.refusals import problems
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CLASSES, Case, fitted, images, labels
from worker import sensitivity
from worker.order import Advanced, AnyMessage, JobOrder, Probed, Staged

AMOUNTS = (0.25, 0.5, 0.75)
MEASURE = {"kind": "sensitivity", "amounts": AMOUNTS}
TUNED = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 8, "epochs_per_round": 1, "epochs": 1}
NO_TRAINING = {"kind": "none"}
GRANULARITIES = [{"granularity": "weight"}, {"granularity": "unit"}]


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(288, CLASSES))


@pytest.fixture(scope="module")
def case() -> Case:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    net = plain()
    return Case(fitted(net, x), (x[:2],), {"input": x, "target": labels()})


def measuring(folder: Path, case: Case, prune: dict[str, Any], **changes: Any) -> JobOrder:
    fields = {"prune": {"target": MEASURE, **prune}, "recover": {"kind": "none"}, **changes.pop("spec", {})}
    return order(folder, case, spec={**fields, "finalize": {"artifacts": ["pt2", "figure"]}}, **changes)


def accuracy(network: nn.Module, case: Case, rows: Tensor) -> float:
    x, target = case.arrays["input"][rows], case.arrays["target"][rows]
    return float((network(x).argmax(1) == target).float().mean())


def without(case: Case, name: str, count: int) -> nn.Module:
    """A copy of the network whose `count` smallest weights of one layer, or channels by L2, are zero."""
    network = plain()
    network.load_state_dict(case.module.state_dict())
    with torch.no_grad():
        weight = network.get_parameter(name)
        if name == "0.weight" and count <= len(weight):
            gone = weight.flatten(1).norm(dim=1).argsort(stable=True)[:count]
            weight[gone] = 0
            network.get_parameter("0.bias")[gone] = 0
        else:
            weight.view(-1)[weight.abs().flatten().argsort(stable=True)[:count]] = 0
    return network.eval()


def by_hand(case: Case, name: str, counts: list[int], rows: Tensor) -> list[float]:
    return [accuracy(without(case, name, count), case, rows) for count in counts]


@pytest.mark.parametrize(("prune", "name", "size"), [("weight", "3.weight", 1152), ("channel", "0.weight", 8)])
def test_a_curve_is_the_metric_without_more_and_more_of_one_layer(
    prune: str, name: str, size: int, case: Case, tmp_path: Path
) -> None:
    wanted = measuring(tmp_path, case, {"granularity": prune})
    data = wanted.spec.data.model_copy(update={"validation": wanted.spec.data.train})
    report = run(wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"data": data})})).report
    assert report.sensitivity is not None
    curve = next(each for each in report.sensitivity.curves if each.name == name)
    counts = [round(amount * size) for amount in AMOUNTS]
    assert (curve.size, curve.taken) == (size, tuple(counts))
    everything = torch.arange(len(case.arrays["target"]))
    assert curve.metric == pytest.approx(by_hand(case, name, counts, everything))
    assert report.sensitivity.dense == pytest.approx(accuracy(case.module, case, everything))


@pytest.mark.parametrize("prune", GRANULARITIES, ids=["weight", "unit"])
def test_a_job_that_measures_takes_nothing_and_hands_over_no_network(
    prune: dict[str, Any], case: Case, tmp_path: Path
) -> None:
    said: list[AnyMessage] = []
    finished = run(measuring(tmp_path, case, prune), said)
    report = finished.report
    assert finished.artifacts == ("metric.png",)
    assert (report.rounds, report.latency, report.size.artifacts) == ((), (), {})
    assert report.size.parameters == report.size.dense_parameters
    assert report.metric.recovered == report.metric.dense == report.metric.pruned
    assert report.metric.one_shot is None
    assert [each.stage for each in said if isinstance(each, Staged)][:3] == ["load", "sensitivity", "evaluate"]
    assert any(isinstance(each, Advanced) and "layer" in each.data for each in said)
    assert not any("no effect" in note for note in report.notes)


@pytest.mark.parametrize("prune", GRANULARITIES, ids=["weight", "unit"])
def test_what_was_measured_once_is_not_measured_again(
    prune: dict[str, Any], case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[AnyMessage] = []
    report = run(measuring(tmp_path, case, prune), said).report
    (probed,) = [each.sensitivity for each in said if isinstance(each, Probed)]
    assert probed == report.sensitivity

    def measured(*given: Any) -> None:
        raise AssertionError("it is known already")

    monkeypatch.setattr(sensitivity, "_measured", measured)
    again = run(measuring(tmp_path, case, prune, sensitivity=probed)).report
    assert again.sensitivity == report.sensitivity


def spread(folder: Path, case: Case, prune: dict[str, Any], **changes: Any) -> JobOrder:
    fields = {"scope": "sensitivity", "schedule": {"kind": "iterative", "rounds": 2}, **prune}
    return order(folder, case, spec={"prune": fields, "recover": TUNED, "finalize": {"latency": None}}, **changes)


WANTED = [
    {"target": {"kind": "sparsity", "amount": 0.6}},
    {"granularity": "unit", "target": {"kind": "macs", "amount": 0.4}},
    {"target": {"kind": "max_accuracy_drop", "amount": 0.1}},
    {"granularity": "channel", "target": {"kind": "max_accuracy_drop", "amount": 0.1, "minimise": "macs"}},
]


@pytest.mark.parametrize("prune", WANTED, ids=["weights", "units", "weights-search", "units-search"])
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(
    prune: dict[str, Any], case: Case, tmp_path: Path
) -> None:
    undisturbed = spread(tmp_path, case, prune, checkpoint_every_s=0.0)
    kept = checkpoints(undisturbed, tmp_path)
    expected = digests(undisturbed)
    assert len(kept) > 4
    for path, sha256 in kept[:2] + kept[2 :: len(kept) // 2]:
        resumed = spread(tmp_path, case, prune, checkpoint=str(path), checkpoint_sha256=sha256, attempt=2)
        run(resumed)
        assert digests(resumed) == expected


def test_layers_lose_what_their_curves_say(case: Case, tmp_path: Path) -> None:
    """A layer whose every loss costs accuracy keeps more than one that can be emptied."""

    def curve(name: str, size: int, *metric: float) -> Curve:
        return Curve(name=name, kind="weight", size=size, taken=(size // 2,), metric=metric)

    said: list[AnyMessage] = []
    report = run(measuring(tmp_path, case, {"granularity": "weight"}), said).report
    assert report.sensitivity is not None
    hurts, free = curve("0.weight", 72, 0.1), curve("3.weight", 1152, report.sensitivity.dense)
    found = report.sensitivity.model_copy(update={"curves": (hurts, free)})
    wanted = spread(tmp_path, case, WANTED[0], sensitivity=found)
    run(wanted)
    state = load_file(Path(wanted.folder) / "model.safetensors")
    zeros = {name: int((state[name] == 0).sum()) for name in ("0.weight", "3.weight")}
    assert sum(zeros.values()) == round(0.6 * (72 + 1152))
    assert zeros["0.weight"] < 0.1 * 72


def test_groups_lose_what_their_curves_say(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, CLASSES),
    ).eval()  # fmt: skip
    case = Case(net, (x[:2],), {"input": x, "target": labels()})
    prune = {"granularity": "channel", "target": {"kind": "units", "amount": 0.375}}
    report = run(measuring(tmp_path, case, {"granularity": "channel"})).report
    assert report.sensitivity is not None
    dense = report.sensitivity.dense
    for hurts, free in (("0.weight", "2.weight"), ("2.weight", "0.weight")):
        metric = {hurts: (0.0, 0.0, 0.0), free: (dense, dense, dense)}
        changed = [each.model_copy(update={"metric": metric[each.name]}) for each in report.sensitivity.curves]
        found = report.sensitivity.model_copy(update={"curves": tuple(changed)})
        wanted = spread(tmp_path, case, prune, sensitivity=found)
        after = {unit.group: unit.after for unit in run(wanted).report.units}
        assert (after[hurts], after[free]) == (8, 2)


def test_what_a_search_found_is_taken_at_once_by_the_same_spread(case: Case, tmp_path: Path) -> None:
    prune = {"scope": "sensitivity", "target": {"kind": "max_accuracy_drop", "amount": 0.7}}
    spec = {"prune": prune, "recover": NO_TRAINING, "finalize": {"latency": None}}
    report = run(order(tmp_path, case, spec=spec)).report
    assert report.metric.one_shot == report.metric.recovered


def test_a_lottery_ticket_measures_the_network_that_it_trained(case: Case, tmp_path: Path) -> None:
    recover = {"kind": "lottery_ticket", "learning_rate": 0.05, "batch_size": 8, "epochs": 2, "controls": "none"}
    torch.manual_seed(1)
    fresh = Case(plain(), case.inputs, case.arrays)
    prune = {"scope": "sensitivity", "target": {"kind": "sparsity", "amount": 0.5}}
    wanted = order(tmp_path, fresh, spec={"prune": prune, "recover": recover, "finalize": {"latency": None}})
    report = run(wanted).report
    assert report.sensitivity is not None
    assert report.sensitivity.dense != report.metric.initial
    kept = checkpoints(wanted.model_copy(update={"checkpoint_every_s": 0.0}), tmp_path)
    expected = digests(wanted)
    path, sha256 = kept[len(kept) // 2]
    resumed = wanted.model_copy(update={"checkpoint": str(path), "checkpoint_sha256": sha256, "attempt": 2})
    run(resumed)
    assert digests(resumed) == expected


@pytest.mark.parametrize(
    ("fields", "where", "told"),
    [
        ({"prune": {"target": MEASURE}}, "recover", "takes nothing and trains nothing"),
        (
            {"prune": {"target": MEASURE, "layers": {"override": {"fc*": 0.5}}}, "recover": NO_TRAINING},
            "prune.layers",
            "override has none to change",
        ),
        (
            {"prune": {"target": {"kind": "sensitivity", "amounts": [0.5, 0.5]}}, "recover": NO_TRAINING},
            "prune.target.amounts",
            "ascending",
        ),
        (
            {"prune": {"scope": "sensitivity", "target": {"kind": "n_m", "keep": 2, "of": 4}}},
            "prune.target",
            "nothing to spread by scope 'sensitivity'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], where: str, told: str) -> None:
    assert [(at, told in message) for at, message in problems(**fields)] == [(where, True)]
