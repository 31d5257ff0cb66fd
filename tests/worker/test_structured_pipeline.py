"""Structured jobs in this process: units are really gone, what is left is proved, and any checkpoint will do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from secateur.errors import (
    NothingMatches,
    NothingPrunable,
    ProofFailed,
    SecateurError,
    SurgeryFailed,
    TargetUnreachable,
)
from secateur.report import Report
from tests.worker.clocks import unsteady
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CASES, CLASSES, Case, images, labels
from worker import pipeline
from worker.methods import anatomy, removal
from worker.order import AnyMessage, Checkpointed, JobOrder, Measured, Staged
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling


class Residual(nn.Module):
    """A stream of 8 channels, a branch of 6 beside it, and 12 channels that are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.up = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 3, padding=1)
        self.wide, self.wide_norm = nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = x + self.up(torch.relu(self.down(x)))
        return self.head(torch.relu(self.wide_norm(self.wide(x))).mean((2, 3)))


class Encoder(nn.Module):
    """Four heads of four and 24 neurons behind a stream of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embed(x)).mean(1))


def cnn() -> Case:
    torch.manual_seed(0)
    x, network = images(1, 6, 6), Residual()
    network(x)  # or every running mean is 0 and every variance 1
    return Case(network.eval(), (x[:2],), {"x": x, "target": labels()})


def transformer() -> Case:
    torch.manual_seed(0)
    x = images(5, 8)
    return Case(Encoder().eval(), (x[:2],), {"x": x, "target": labels()})


NETWORKS = {"cnn": cnn, "transformer": transformer}
GROUPS = {
    "cnn": {("channel", 8), ("channel", 6), ("channel", 12)},
    "transformer": {("neuron", 16), ("head", 4), ("neuron", 24)},
}
ONE_SHOT = {"kind": "one_shot"}
ITERATIVE = {"kind": "iterative", "rounds": 3, "curve": "linear"}


def spec(*, recover: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Half of all units in three rounds, little training."""
    half = {"granularity": "unit", "target": {"kind": "units", "amount": 0.5}, "schedule": ITERATIVE}
    training = {"kind": "fine_tune", "learning_rate": 0.05, "batch_size": 6, "epochs_per_round": 1, "epochs": 1}
    return {
        "prune": half | changes,
        "recover": training | (recover or {}) if recover != {"kind": "none"} else recover,
        "finalize": {"latency": {"batch_sizes": [2], "runs": 3}},
    }


def artifact(wanted: JobOrder) -> torch.export.ExportedProgram:
    return torch.export.load(Path(wanted.folder) / "model.pt2")


def macs(program: torch.export.ExportedProgram, case: Case) -> int:
    """Of one example, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        program.module()(case.inputs[0][:2])
    return counter.get_total_flops() // 2 // 2


@pytest.mark.parametrize(
    ("network", "kind", "schedule"),
    [
        ("cnn", "units", ONE_SHOT),
        ("cnn", "macs", ITERATIVE),
        ("transformer", "parameters", ITERATIVE),
        ("transformer", "macs", ONE_SHOT),
    ],
)
def test_what_is_asked_for_is_gone_and_the_rest_is_proved(
    network: str, kind: str, schedule: dict[str, Any], tmp_path: Path
) -> None:
    case = NETWORKS[network]()
    wanted = order(tmp_path, case, spec=spec(target={"kind": kind, "amount": 0.5}, schedule=schedule))

    report = run(wanted).report

    assert {(group.kind, group.before) for group in report.units} == GROUPS[network]
    assert gone(report)[kind] == pytest.approx(0.5, abs=0.1)
    assert len(report.rounds) == (3 if schedule is ITERATIVE else 1)
    assert report.proof is not None
    assert report.proof.holds
    assert report.proof.max_relative_error < 1e-9
    assert report.proof.effect > 1e-3
    stock, before = artifact(wanted), case.module.state_dict()
    assert report.macs is not None
    assert report.macs.pruned == macs(stock, case)
    assert report.macs.dense == macs(torch.export.load(wanted.model), case)
    assert stock.state_dict.keys() == before.keys()
    assert report.size.parameters == sum(parameter.numel() for parameter in stock.parameters())
    assert report.size.dense_parameters == sum(parameter.numel() for parameter in case.module.parameters())
    assert [row.batch for row in report.latency] == [2]
    saved = load_file(Path(wanted.folder) / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in stock.state_dict.items() if name in saved)
    assert stock.module()(case.arrays["x"][:5]).shape == (5, CLASSES)


def gone(report: Report) -> dict[str, float]:
    """The shares that are gone."""
    assert report.macs is not None
    return {
        "units": 1 - sum(group.after for group in report.units) / sum(group.before for group in report.units),
        "parameters": 1 - report.size.parameters / report.size.dense_parameters,
        "macs": 1 - report.macs.pruned / report.macs.dense,
    }


def test_the_report_says_what_stock_torch_measures(tmp_path: Path) -> None:
    case = cnn()
    wanted = order(tmp_path, case, spec=spec())
    metric = run(wanted).report.metric

    def accuracy(path: Path) -> float:
        scores = torch.export.load(path).module()
        rows = [scores(case.arrays["x"][i : i + 2]).argmax(1) for i in range(0, 24, 2)]
        return float((torch.cat(rows) == case.arrays["target"]).float().mean())

    assert metric.recovered == pytest.approx(accuracy(Path(wanted.folder) / "model.pt2"))
    assert metric.dense == pytest.approx(accuracy(tmp_path / "upload.pt2"))


def test_every_round_takes_more_and_says_how_much(tmp_path: Path) -> None:
    said: list[AnyMessage] = []
    report = run(order(tmp_path, cnn(), spec=spec()), said).report

    told = [message.data for message in said if isinstance(message, Measured) and "units_removed" in message.data]
    assert [data["round"] for data in told] == [1, 2, 3]
    assert [data["units_removed"] for data in told] == [each.units_removed for each in report.rounds]
    for key, grows in {"units_removed": 1, "parameters": -1, "macs": -1}.items():
        values = [grows * data[key] for data in told]
        assert values == sorted(set(values)), key
    assert told[-1]["parameters"] == report.size.parameters
    assert report.macs is not None
    assert told[-1]["macs"] == report.macs.pruned
    assert told[-1]["units_removed"] == pytest.approx(gone(report)["units"])


@pytest.mark.parametrize(
    ("network", "recover"),
    [
        ("cnn", {"optimizer": {"kind": "sgd"}, "reset_optimizer": True}),
        ("transformer", {"optimizer": {"kind": "adamw"}, "reset_optimizer": False, "learning_rate": 0.01}),
    ],
    ids=["sgd, reset", "adamw, kept"],
)
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(
    network: str, recover: dict[str, Any], tmp_path: Path
) -> None:
    """Between rounds and inside of epochs; the shapes differ from round to round."""
    case = NETWORKS[network]()
    whole = order(tmp_path, case, spec=spec(recover=recover), checkpoint_every_s=1e-6)

    kept = checkpoints(whole, tmp_path)

    assert len(kept) == 3 + 3 * 3
    for path, digest in kept[3:8:2]:
        resumed = order(
            tmp_path, case, spec=spec(recover=recover), checkpoint=str(path), checkpoint_sha256=digest, attempt=2
        )
        report = run(resumed).report
        assert digests(resumed) == digests(whole)
        assert any(each.best_epoch for each in report.rounds), "no training was handed over"
        assert any("went on from a checkpoint" in note for note in report.notes)


def test_without_training_a_job_resumes_too(tmp_path: Path) -> None:
    case, idle = cnn(), spec(recover={"kind": "none"})
    whole = order(tmp_path, case, spec=idle)
    (path, digest), *_ = checkpoints(whole, tmp_path)
    resumed = order(tmp_path, case, spec=idle, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
    run(resumed)
    assert digests(resumed) == digests(whole)


def test_a_paused_job_ends_the_same(tmp_path: Path) -> None:
    whole = order(tmp_path, cnn(), spec=spec())
    run(whole)
    paused, said = order(tmp_path, cnn(), spec=spec()), list[AnyMessage]()

    assert pipeline.run(paused, said.append, lambda: len(said) > 12) is None

    saved = [message for message in said if isinstance(message, Checkpointed)][-1]
    changes = {"checkpoint": str(Path(paused.folder) / saved.name), "checkpoint_sha256": saved.sha256}
    resumed = order(tmp_path, cnn(), spec=spec(), attempt=2, **changes)
    run(resumed)
    assert digests(resumed) == digests(whole)


@pytest.mark.parametrize("tensor", ["up.weight", "wide_norm.running_var", "head.weight"])
def test_a_wrong_slice_fails_before_it_is_trained(tensor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surgeon takes other entries than those that stay, of the right number."""
    right = anatomy.operate

    def wrong(*given: Any) -> Program:
        program = right(*given)
        numbers = program.module.state_dict(keep_vars=True)[tensor]
        with torch.no_grad():
            numbers.copy_(numbers.roll(1, 0 if numbers.dim() == 1 else 1))
        return program

    monkeypatch.setattr(anatomy, "operate", wrong)
    said: list[AnyMessage] = []
    with pytest.raises(ProofFailed) as failure:
        run(order(tmp_path, cnn(), spec=spec()), said)
    assert failure.value.to_dict()["proof"]["max_relative_error"] > 1e-6
    assert not any(message.stage == "fine_tune" for message in said if isinstance(message, Staged))


@pytest.mark.parametrize("tensor", ["head.weight", "stem_norm.running_var"])
def test_numbers_that_are_none_are_named(tensor: str, tmp_path: Path) -> None:
    case = replace(cnn(), dynamic=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        case.module.state_dict()[tensor].fill_(torch.nan)
    with pytest.raises(ProofFailed, match=f"none at all in {tensor}") as failure:
        run(order(tmp_path, case, spec=spec()))
    assert "Secateur" not in failure.value.remedy
    assert not failure.value.to_dict()["proof"]["holds"]


@pytest.mark.parametrize(
    "target",
    [{"kind": "units", "amount": 0.5}, {"kind": "max_accuracy_drop", "amount": 0.9, "minimise": "latency"}],
    ids=["units", "latency"],
)
def test_what_surgery_cannot_follow_stays_and_the_report_says_so(
    target: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The surgeon gives up at the convolution that makes the branch narrow; a killed job comes to the same end."""
    right, node = anatomy.operate, "conv2d_default_1"

    def careful(lab: Labelling, cut: Cut) -> Program:
        (branch,) = [each for each in lab.program.module.graph.nodes if each.name == node]
        if cut.touches(branch):
            raise SurgeryFailed(f"The entries at {node} would move.", node=node)
        return right(lab, cut)

    looked = unsteady(monkeypatch)
    monkeypatch.setattr(anatomy, "operate", careful)
    how = spec(recover={"kind": "none"}, target=target)
    whole = order(tmp_path, cnn(), spec=how)
    kept = checkpoints(whole, tmp_path)
    timed = len(looked)
    changes = {"checkpoint": str(kept[1][0]), "checkpoint_sha256": kept[1][1], "attempt": 2}
    resumed = order(tmp_path, cnn(), spec=how, **changes)
    report = run(resumed).report
    assert len(looked) == timed
    assert digests(resumed) == digests(whole)
    assert any(node in note for note in report.notes)
    assert {group.before for group in report.units} == {12}
    assert report.proof is not None
    assert report.proof.holds


def test_the_proof_at_the_end_is_about_the_trained_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the uploaded ones on one of its sides it does not hold, and there is no artifact."""
    monkeypatch.setattr(removal, "graft", lambda *given: None)
    wanted = order(tmp_path, cnn(), spec=spec())
    with pytest.raises(ProofFailed) as failure:
        run(wanted)
    assert failure.value.code == "proof_failed"
    assert not list(Path(wanted.folder).glob("model.*"))


REFUSALS: dict[str, tuple[dict[str, Any], type[SecateurError]]] = {
    "no heads in a CNN": ({"granularity": "head"}, NothingPrunable),
    "a pattern that matches nothing": ({"layers": {"include": ["nowhere*"]}}, NothingMatches),
    "everything is excluded": ({"layers": {"exclude": ["*"]}}, NothingMatches),
    "out of reach": ({"target": {"kind": "macs", "amount": 0.9}, "max_amount": 0.2}, TargetUnreachable),
}


@pytest.mark.parametrize(("changes", "error"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_done_is_refused_before_anything_runs(
    changes: dict[str, Any], error: type[SecateurError], tmp_path: Path
) -> None:
    said: list[AnyMessage] = []
    with pytest.raises(error):
        run(order(tmp_path, cnn(), spec=spec(**changes)), said)
    assert [message.stage for message in said if isinstance(message, Staged)] == ["load"]


@pytest.mark.parametrize("name", ["half precision", "two inputs", "tied weights", "torch's pruning attached"])
def test_any_file_is_cut(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES[name]()
    wanted = order(tmp_path, case, spec=spec(schedule=ONE_SHOT))
    report = run(wanted).report
    assert report.proof is not None
    assert report.proof.holds
    assert report.size.parameters < 0.7 * report.size.dense_parameters
    artifact(wanted).module()(*(value[:3] for key, value in case.arrays.items() if key != "target"))


class Logarithm(nn.Module):
    """What it makes of anything below zero is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(torch.log(x))))


def test_what_takes_nothing_but_its_own_data_is_proved_on_that(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = images(6).abs() + 0.1
    batch = {"x": {0: torch.export.Dim("batch", min=1)}}
    case = Case(Logarithm().eval(), (x[:2],), {"x": x, "target": labels()}, dynamic=batch)
    report = run(order(tmp_path, case, spec=spec())).report
    assert report.proof is not None
    assert report.proof.holds
    assert 0 < report.proof.effect < float("inf")


@pytest.mark.parametrize(("amount", "missed"), [(0.5, 0), (0.4, 1)])
def test_a_target_between_two_units_is_told(amount: float, missed: int, tmp_path: Path) -> None:
    """Of four heads two go."""
    asked = {"granularity": "head", "target": {"kind": "units", "amount": amount}, "schedule": ONE_SHOT}
    report = run(order(tmp_path, transformer(), spec=spec(recover={"kind": "none"}, **asked))).report
    assert [(each.before, each.after) for each in report.units] == [(4, 2)]
    assert sum("50.0% of the units are gone, 40.0% were asked for" in note for note in report.notes) == missed
    assert sum("asked for" in note for note in report.notes) == missed


def test_only_what_is_asked_for_is_cut(tmp_path: Path) -> None:
    wanted = order(tmp_path, transformer(), spec=spec(granularity="head"))
    report = run(wanted).report
    state = artifact(wanted).state_dict
    assert [(group.kind, group.before, group.after) for group in report.units] == [("head", 4, 2)]
    assert state["block.self_attn.in_proj_weight"].shape == (24, 16)
    assert state["block.linear1.weight"].shape == (24, 16)


def test_a_job_that_takes_nothing_says_so(tmp_path: Path) -> None:
    nothing = spec(target={"kind": "units", "amount": 0}, schedule=ONE_SHOT, recover={"kind": "none"})
    report = run(order(tmp_path, cnn(), spec=nothing)).report
    assert report.size.parameters == report.size.dense_parameters
    assert any("removed nothing" in note for note in report.notes)
    assert report.proof is not None
    assert report.proof.effect == 0
    assert any("has no effect" in note for note in report.notes)


def test_masks_that_arrive_keep_their_zeros_on_what_is_left(tmp_path: Path) -> None:
    """The rows that are left have zeros where they had them, and nowhere else, after training."""
    case = cnn()
    prune.l1_unstructured(case.module.get_submodule("wide"), "weight", amount=0.5)
    wanted = order(tmp_path, case, spec=spec(layers={"include": ["wide.*"]}))

    report = run(wanted).report

    assert report.proof is not None
    assert report.proof.holds
    assert any(each.best_epoch for each in report.rounds), "no training was handed over"
    weight, mask = artifact(wanted).state_dict["wide.weight"], case.module.state_dict()["wide.weight_mask"]
    assert weight.shape == (6, 8, 3, 3)
    rows = {row.flatten().bool().numpy().tobytes() for row in mask}
    assert all((row != 0).flatten().numpy().tobytes() in rows for row in weight)
