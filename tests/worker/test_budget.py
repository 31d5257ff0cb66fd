"""The smallest network within a budget: whole jobs that search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app.examples import SPEC
from secateur.report import Report, Round
from secateur.spec import JobSpec
from tests.secateur.spec.refusals import problems
from tests.worker.clocks import unsteady
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CLASSES, EXAMPLES, Case, fitted, images, labels
from worker.order import JobOrder
from worker.plan import Budget, Step, bound
from worker.recovery.objective import Score
from worker.search import COST

TUNED = {"kind": "fine_tune", "learning_rate": 0.05, "batch_size": 8, "epochs_per_round": 1, "epochs": 3}
UNITS = {"granularity": "channel"}
FASTEST = {"granularity": "unit", "target": {"minimise": "latency"}}


@pytest.fixture
def case() -> Case:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, CLASSES)
    )
    return Case(fitted(net, x), (x[:2],), {"input": x, "target": labels()})


def search(
    folder: Path, case: Case, drop: float = 0.1, recover: dict[str, Any] = TUNED, prune: Any = None, **changes: Any
) -> JobOrder:
    target = {"kind": "max_accuracy_drop", "amount": drop}
    schedule = {"kind": "iterative", "rounds": 3, "curve": "geometric"}
    target |= (prune := dict(prune or {})).pop("target", {})
    spec = {"prune": {"target": target, "schedule": schedule, **prune}, "recover": recover}
    return order(folder, case, spec={**spec, "finalize": changes.pop("finalize", {"latency": None})}, **changes)


def assert_searched(report: Report, epochs: int) -> None:
    """What is true of every search."""
    found, kept = report.budget, [each for each in report.rounds if each.kept]
    assert found is not None
    assert found.found is not None
    assert found.found >= found.bound
    assert found.epochs_of_one_job == epochs
    assert sum(each.epochs for each in report.rounds) == found.epochs <= COST * epochs
    assert all((each.recovered or 0.0) >= found.bound for each in kept)
    assert all((each.recovered or 0.0) < found.bound for each in report.rounds if not each.kept)
    amounts = [each.amount for each in report.rounds if each.amount is not None]
    assert len(set(amounts)) == len(amounts) == found.trials
    assert amounts == [each.amount for each in report.rounds[: len(amounts)]], "only the last round takes nothing"
    good = [each.amount for each in kept if each.amount is not None]
    assert good == sorted(good)


@pytest.mark.parametrize("recover", [TUNED, {"kind": "none"}], ids=["fine_tune", "none"])
def test_weights_go_until_the_budget_is_spent(recover: dict[str, Any], case: Case, tmp_path: Path) -> None:
    wanted = search(tmp_path, case, recover=recover)
    report = run(wanted).report
    assert_searched(report, epochs=5 if recover is TUNED else 0)
    last = [each for each in report.rounds if each.kept and each.amount is not None][-1]
    assert report.sparsity is not None
    assert report.sparsity.overall == pytest.approx(last.sparsity)
    assert last.sparsity == pytest.approx(last.amount, abs=0.002)
    state = load_file(Path(wanted.folder) / "model.safetensors")
    assert sum(int((state[each.name] == 0).sum()) for each in report.sparsity.layers) == report.sparsity.zeros


def test_a_trial_that_was_too_much_leaves_no_trace(case: Case, tmp_path: Path) -> None:
    """What is handed over is the last network that was kept, bit for bit: as if the search had ended there."""
    wanted = search(tmp_path, case, drop=0.05)
    seen: list[dict[str, torch.Tensor]] = []

    kept = checkpoints(wanted, tmp_path)
    rounds = run(search(tmp_path, case, drop=0.05)).report.rounds
    assert len(kept) == len(rounds)
    assert any(not each.kept for each in rounds), "this search never went too far"
    for path, _ in kept:
        saved = load_file(path)
        seen.append({n.removeprefix("program/"): t for n, t in saved.items() if n.startswith("program/")})
    state = load_file(Path(wanted.folder) / "model.safetensors")
    good = max(number for number, each in enumerate(rounds) if each.kept)
    for after in seen[good:]:
        for name, tensor in state.items():
            assert torch.equal(tensor, after[name]), name


@pytest.mark.parametrize("prune", [{}, UNITS], ids=["weights", "units"])
def test_a_search_resumed_from_any_checkpoint_writes_the_same_bytes(
    prune: dict[str, Any], case: Case, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"recover": TUNED | {"reset_optimizer": False}, "prune": prune}
    whole = search(tmp_path, case, checkpoint_every_s=1e-6, **how)

    kept = checkpoints(whole, tmp_path)
    report = run(search(tmp_path, case, **how)).report

    assert_searched(report, epochs=5)
    if prune:
        assert report.proof is not None
        assert report.proof.holds
    for path, digest in kept[:: max(1, len(kept) // 4)]:
        resumed = search(tmp_path, case, checkpoint=str(path), checkpoint_sha256=digest, attempt=2, **how)
        assert run(resumed).report.rounds == report.rounds
        assert digests(resumed) == digests(whole)


def test_the_fastest_network_resumed_from_any_checkpoint_is_decided_by_the_times_of_the_first_attempt(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two measurements agree, so whatever measures again ends elsewhere."""
    looked = unsteady(monkeypatch)
    whole = search(tmp_path, case, prune=FASTEST, checkpoint_every_s=1e-6)
    kept = checkpoints(whole, tmp_path)
    assert len(looked) == 2, "how long a run takes, and the one group"
    reports = []
    for path, digest in (kept[0], kept[len(kept) // 2]):
        resumed = search(tmp_path, case, prune=FASTEST, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        reports.append(run(resumed).report)
        assert digests(resumed) == digests(whole)
    assert len(looked) == 2
    first, second = [(each.rounds, each.predicted_latency) for each in reports]
    assert first == second
    assert_searched(reports[0], epochs=5)


def test_the_report_of_the_fastest_network_tells_what_was_timed_and_what_was_predicted(
    case: Case, tmp_path: Path
) -> None:
    """With a clock that is true, whatever it says."""
    report = run(search(tmp_path, case, prune=FASTEST, finalize={"latency": {"batch_sizes": [4], "runs": 3}})).report
    assert_searched(report, epochs=5)
    times = report.predicted_latency
    assert times is not None
    assert (times.batch, times.device, [each.group for each in times.groups]) == (4, "cpu", ["0.weight"])
    assert 0 <= times.pruned_ms <= times.dense_ms
    (group,), (channels,) = times.groups, report.units
    kept = [each for each in report.rounds if each.kept and each.amount is not None]
    if kept:
        gone = (times.dense_ms - times.pruned_ms) / times.dense_ms
        assert gone == pytest.approx((channels.before - channels.after) * group.ms / group.units / times.dense_ms)
        assert abs(gone - kept[-1].amount) <= group.ms / group.units / times.dense_ms
    assert [each.batch for each in report.latency] == [4]
    assert any("latency is predicted" in note for note in report.notes)


@pytest.mark.parametrize(("ms", "max_amount"), [(0.0, 0.9), (1.0, 0.01)], ids=["no gain", "none may go"])
def test_where_no_unit_costs_time_the_dense_network_comes_back(
    ms: float, max_amount: float, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsteady(monkeypatch, ms)
    report = run(search(tmp_path, case, prune=FASTEST | {"max_amount": max_amount})).report
    assert report.rounds == ()
    assert report.budget is not None
    assert report.budget.trials == 0
    assert report.metric.recovered == report.metric.dense
    assert any("nothing to take" in note for note in report.notes)


def test_where_nothing_smaller_is_good_enough_the_dense_network_comes_back(tmp_path: Path) -> None:
    """A sum of which every term counts."""
    torch.manual_seed(0)
    net, x = nn.Linear(6, 1), torch.randn(EXAMPLES, 6)
    nn.init.uniform_(net.weight, 1, 2)
    target = net(x).detach() + 0.01 * torch.randn(EXAMPLES, 1)
    summed = Case(net.eval(), (x[:2],), {"input": x, "target": target}, task={"kind": "regression"})
    wanted = search(tmp_path, summed, recover={"kind": "none"})
    report = run(wanted).report
    assert report.budget is not None
    assert report.budget.trials > 3
    assert not any(each.kept for each in report.rounds)
    assert report.metric.one_shot == report.metric.pruned == report.metric.dense == report.metric.recovered
    state = load_file(Path(wanted.folder) / "model.safetensors")
    for name, tensor in net.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert any("what is handed over is the dense one" in note for note in report.notes)


def test_a_search_that_takes_no_unit_says_nothing_of_what_was_removed(tmp_path: Path) -> None:
    """Every neuron carries a part of the sum."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 4), nn.Softplus(), nn.Linear(4, 1)), torch.randn(EXAMPLES, 6)
    nn.init.uniform_(net[2].weight, 3, 4)
    summed = Case(net.eval(), (x[:2],), {"input": x, "target": net(x).detach()}, task={"kind": "regression"})
    report = run(search(tmp_path, summed, recover={"kind": "none"}, prune={"granularity": "neuron"})).report
    assert report.size.parameters == report.size.dense_parameters
    assert not any("no effect" in note for note in report.notes)


def test_what_was_found_trains_on_and_the_metric_before_is_that_of_its_pruning(case: Case, tmp_path: Path) -> None:
    """The amount after it was too much, and what that was like is not told as the network's."""
    wanted = search(tmp_path, case, of_data={"test": None}, prune={"schedule": {"kind": "iterative", "rounds": 2}})
    report = run(wanted).report
    *trials, last = report.rounds
    kept, bad = ([each for each in trials if each.kept is good] for good in (True, False))
    assert last.amount is None
    assert last.epochs == TUNED["epochs"] > kept[-1].epochs
    assert (last.sparsity, last.pruned) == (kept[-1].sparsity, kept[-1].recovered)
    assert bad[-1].pruned != kept[-1].pruned
    assert report.metric.pruned == kept[-1].pruned
    assert report.metric.recovered == last.recovered


def test_tickets_are_searched_for_too(case: Case, tmp_path: Path) -> None:
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.05, "batch_size": 8, "epochs": 2}
    report = run(search(tmp_path, case, drop=0.3, recover=ticket)).report
    assert_searched(report, epochs=6)
    assert report.metric.one_shot is None


@pytest.mark.parametrize(
    ("metric", "higher", "dense", "drop", "expected"),
    [
        ("accuracy", True, 0.98, 0.01, 0.97),
        ("mean_iou", True, 0.5, 0.1, 0.4),
        ("rmse", False, 2.0, 0.1, 2.2),
        ("perplexity", False, 10.0, 0.05, 10.5),
    ],
)
def test_what_a_drop_allows(metric: Any, higher: bool, dense: float, drop: float, expected: float) -> None:
    assert bound(dense, drop, metric, higher) == pytest.approx(expected)


def plan(higher_is_better: bool = True) -> Budget:
    spec = {"target": {"kind": "max_accuracy_drop", "amount": 0.1}, "schedule": {"kind": "iterative", "rounds": 2}}
    whole = JobSpec.model_validate({**SPEC, "prune": spec, "recover": TUNED})
    return Budget(whole, "accuracy" if higher_is_better else "rmse", higher_is_better, score(0.9), 0.9)


def score(value: float) -> Score:
    return Score(value, EXAMPLES, 0.0, 1.0)


def test_a_trial_ends_when_it_is_good_enough_but_not_before_a_usual_round_would() -> None:
    search = plan()
    assert not search.enough(0, score(0.9))
    assert search.enough(1, score(0.8))
    assert not search.enough(2, score(0.79))
    assert not search.keeps(score(float("nan")))
    assert plan(higher_is_better=False).keeps(score(0.98))
    assert not plan(higher_is_better=False).keeps(score(1.0))


def test_a_search_spends_no_more_than_three_jobs_and_leaves_enough_for_the_last_training() -> None:
    def trial(number: int, amount: float | None, kept: bool, epochs: int) -> Round:
        return Round(round=number, pruned=0.5, recovered=0.5, epochs=epochs, best_epoch=0, amount=amount, kept=kept)

    def after(epochs: int, of_them: int = 2) -> Step | None:
        return plan().next([trial(1, 0.5, True, of_them), trial(2, 0.9, False, epochs - of_them)])

    whole = 3 * 4
    step = after(whole - 6)
    assert step is not None
    assert step.takes
    step = after(whole - 5)
    assert step is not None
    assert not step.takes, "there is not enough for a trial and the training after it"
    assert after(whole - 5, of_them=3) is None, "what was found has had a whole training"
    assert plan().next([trial(1, 0.5, True, 1), trial(2, None, True, 3)]) is None


def test_a_search_tells_what_it_took_and_that_it_took_nothing() -> None:
    def trial(gone: float, kept: bool) -> Round:
        scores = {"pruned": 0.9, "recovered": 0.9, "epochs": 1, "best_epoch": 0}
        return Round(round=1, units_removed=gone, amount=0.1, kept=kept, **scores)

    assert plan().told([trial(0.2, kept=True)]) == "The search took 10.0% in one trial."
    for rounds in ([trial(0.2, kept=False)], [trial(0.0, kept=True)], []):
        assert "what is handed over is the dense one" in plan().told(rounds)


@pytest.mark.parametrize(
    ("fields", "where", "told"),
    [
        (
            {"prune": {"target": {"kind": "max_accuracy_drop", "amount": 0.01, "minimise": "macs"}}},
            "prune.target",
            "zeros do not make a network need fewer MACs",
        ),
        (
            {"prune": {"target": {"kind": "max_accuracy_drop", "amount": 0.01, "minimise": "latency"}}},
            "prune.target",
            "zeros do not make a network need less time",
        ),
        ({"prune": {"target": {"kind": "max_accuracy_drop", "amount": 1.0}}}, "prune.target.amount", "less than 1"),
        (
            {
                "prune": {"target": {"kind": "max_accuracy_drop", "amount": 0.01}},
                "recover": {"kind": "lottery_ticket", "learning_rate": 0.1, "controls": "last_round"},
            },
            "recover",
            "set controls to none",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], where: str, told: str) -> None:
    assert [(at, told in message) for at, message in problems(**fields)] == [(where, True)]
