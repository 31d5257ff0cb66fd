"""Whole jobs whose training ends early, is recalibrated, or goes through the program in parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CASES, CLASSES, Case
from worker import narration
from worker.order import Advanced, AnyMessage, JobOrder
from worker.program.program import Program

TUNING = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 4, "epochs_per_round": 3, "epochs": 6}


@pytest.fixture
def plain() -> Case:
    torch.manual_seed(0)
    return CASES["flatten, fixed batch"]()


def job(folder: Path, case: Case, recover: dict[str, Any], **changes: Any) -> JobOrder:
    return order(folder, case, spec={"recover": recover}, **changes)


def test_an_impatient_job_says_so_and_its_progress_only_grows(
    plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narration, "SECONDS_BETWEEN_PROGRESS", 0.0)
    said: list[AnyMessage] = []
    rounds = run(job(tmp_path, plain, TUNING | {"patience": 1, "learning_rate": 1.0}), said).report.rounds
    told = [message.fraction for message in said if isinstance(message, Advanced)]
    assert [each.stopped_early for each in rounds] == [
        each.epochs < meant for each, meant in zip(rounds, (3, 6), strict=True)
    ]
    assert rounds[-1].stopped_early
    assert all(each.epochs == each.best_epoch + 1 for each in rounds if each.stopped_early)
    assert told == sorted(told)
    assert len(told) == 5 * sum(each.epochs for each in rounds)


def test_new_statistics_need_no_training(plain: Case, tmp_path: Path) -> None:
    def buffers(recover: dict[str, Any]) -> tuple[Any, torch.Tensor]:
        wanted = job(tmp_path, plain, recover)
        report = run(wanted).report
        return report.rounds, torch.export.load(Path(wanted.folder) / "model.pt2").state_dict["norm.running_var"]

    optimizer = torch.optim.SGD(plain.module.train().parameters(), 0.1)
    for _ in range(10):
        torch.nn.functional.cross_entropy(plain.module(plain.arrays["x"]), plain.arrays["target"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    plain.module.eval().get_buffer("norm.running_var").fill_(100.0)  # far from what any batch shows
    without, before = buffers({"kind": "none"})
    rounds, after = buffers({"kind": "none", "recalibration_batches": 3})
    assert [each.recalibrated for each in without] == [None, None]
    assert rounds[0].recalibrated
    assert [each.recovered >= each.pruned for each in rounds] == [True, True]
    assert torch.equal(before, torch.full((6,), 100.0))
    assert bool((after < 10).all())


@pytest.mark.parametrize("units", [False, True])
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(plain: Case, tmp_path: Path, units: bool) -> None:
    half = {"granularity": "channel", "target": {"kind": "units", "amount": 0.5}}
    prune = half | {"schedule": {"kind": "iterative", "rounds": 2}}
    recover = TUNING | {"patience": 1, "recalibration_batches": 3, "precision": "bf16", "reset_optimizer": False}
    spec = {"recover": recover, "finalize": {"latency": None}} | ({"prune": prune} if units else {})
    whole = order(tmp_path, plain, spec=spec, checkpoint_every_s=1e-6)
    kept = checkpoints(whole, tmp_path)
    for path, digest in kept[3::7]:
        resumed = order(tmp_path, plain, spec=spec, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)


def test_retraining_is_fine_tuning_by_other_defaults(plain: Case, tmp_path: Path) -> None:
    spelled = {
        "kind": "fine_tune", "learning_rate": 0.04, "epochs_per_round": 3, "epochs": 8, "warmup_steps": 8,
        "clip_norm": 1.0, "label_smoothing": 0.1, "distill": {},
    }  # fmt: skip
    asked = job(tmp_path, plain, {"kind": "retrain", "original_learning_rate": 0.01})
    told = job(tmp_path, plain, spelled)
    assert [each.epochs for each in run(asked).report.rounds] == [3, 8]
    run(told)
    assert digests(asked) == digests(told)


def test_a_regression_is_retrained_by_its_defaults(plain: Case, tmp_path: Path) -> None:
    target = torch.randn(len(plain.arrays["x"]), CLASSES)
    case = replace(plain, arrays=plain.arrays | {"target": target}, task={"kind": "regression"})
    report = run(job(tmp_path, case, {"kind": "retrain", "original_learning_rate": 0.01})).report
    assert report.metric.name == "rmse"
    assert report.metric.recovered <= report.metric.pruned


def test_a_program_that_takes_few_at_once_makes_steps_as_large_as_asked(plain: Case, tmp_path: Path) -> None:
    few = Case(plain.module, plain.inputs, plain.arrays, dynamic={"x": {0: torch.export.Dim("batch", max=4)}})
    asked = job(tmp_path, few, TUNING | {"batch_size": 8})
    spelled = job(tmp_path, few, TUNING | {"batch_size": 4, "accumulate": 2})
    notes = run(asked).report.notes
    assert any("at most 4 examples at once" in note for note in notes)
    assert not any("at once" in note for note in run(spelled).report.notes)
    assert digests(asked) == digests(spelled)


def test_a_job_goes_on_with_less_when_the_memory_is_not_enough(
    plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = job(tmp_path, plain, TUNING | {"batch_size": 3, "accumulate": 2})
    run(known)
    whole = Program.__call__

    def cramped(self: Program, *inputs: torch.Tensor) -> Any:
        if len(inputs[0]) > 3 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError
        return whole(self, *inputs)

    monkeypatch.setattr(Program, "__call__", cramped)
    wanted = job(tmp_path, plain, TUNING | {"batch_size": 6}, checkpoint_every_s=1e-6)
    notes: list[str] = []
    kept = checkpoints(wanted, tmp_path)
    for path, digest in (kept[4], kept[-1]):
        resumed = job(tmp_path, plain, TUNING | {"batch_size": 6}, checkpoint=str(path), checkpoint_sha256=digest)
        notes = list(run(resumed).report.notes)
        assert digests(resumed) == digests(wanted) == digests(known)
    assert len([note for note in notes if "parts of at most 3" in note]) == 1
