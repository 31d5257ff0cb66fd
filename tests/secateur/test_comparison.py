"""Which of some jobs came off best, and what differs between them."""

from __future__ import annotations

from typing import Any

import pytest

from app.examples import REPORT, SPEC
from secateur.comparison import compare
from secateur.latency import Latency
from secateur.report import Macs, Report
from secateur.spec import JobSpec

FINE_TUNE, RETRAIN = SPEC["recover"], {"kind": "retrain", "original_learning_rate": 0.1}


def report(recovered: float = 0.9, spec: dict[str, Any] | None = None, **changes: Any) -> Report:
    """The example's, with another metric and of another job."""
    known = Report.model_validate(REPORT)
    metric = known.metric.model_copy(update={"recovered": recovered, "standard_error": 0.01})
    asked = JobSpec.model_validate({**SPEC, **(spec or {})})
    provenance = known.provenance.model_copy(update={"spec": asked, "seed": asked.seed, **changes})
    return known.model_copy(update={"metric": metric, "provenance": provenance})


def test_the_best_comes_first_whichever_way_the_metric_goes() -> None:
    reports = {"a": report(0.90), "b": report(0.97), "c": report(0.96)}
    found = compare(reports)
    assert [each.job for each in found.jobs] == ["b", "c", "a"]
    assert [each.behind for each in found.jobs] == pytest.approx([0, 0.01, 0.07])
    assert [each.level for each in found.jobs] == [True, True, False]
    errors = {"name": "rmse", "higher_is_better": False}
    worse = {
        job: one.model_copy(update={"metric": one.metric.model_copy(update=errors)}) for job, one in reports.items()
    }
    assert [each.job for each in compare(worse).jobs] == ["a", "c", "b"]


def test_only_what_differs_is_named_and_no_default_that_comes_with_a_kind() -> None:
    found = compare({"a": report(spec={"recover": FINE_TUNE}), "b": report(spec={"recover": RETRAIN, "seed": 3})})
    asked = {each.job: each.asked for each in found.jobs}
    assert asked["a"] == {"recover.kind": '"fine_tune"', "seed": "0"}
    assert asked["b"] == {"recover.kind": '"retrain"', "seed": "3"}


def test_a_default_is_named_beside_what_another_job_set() -> None:
    longer = FINE_TUNE | {"epochs": 9, "optimizer": {"kind": "adamw"}}
    found = compare({"a": report(spec={"recover": FINE_TUNE}), "b": report(spec={"recover": longer})})
    asked = {each.job: each.asked for each in found.jobs}
    assert asked["a"] == {"recover.optimizer.kind": '"sgd"', "recover.epochs": "5"}
    assert asked["b"] == {"recover.optimizer.kind": '"adamw"', "recover.epochs": "9"}


def test_the_same_again_differs_in_nothing() -> None:
    only, _ = compare({"a": report(), "b": report()}).jobs
    assert (only.asked, only.behind, only.level) == ({}, 0, True)
    assert only.parameters_left == pytest.approx(548 / 4810)
    assert (only.macs_left, only.speed_up) == (None, None)


def test_it_is_said_where_they_should_not_be_compared() -> None:
    known = Report.model_validate(REPORT)
    assert compare({"a": report(), "b": report()}).cautions == ()
    (models,) = compare({"a": report(), "b": report(model_sha256="1" * 64)}).cautions
    assert "different models" in models
    for other in ({"test": "dst_" + "1" * 26}, {"target": "another"}):
        (data,) = compare({"a": report(), "b": report(spec={"data": SPEC["data"] | other})}).cautions
        assert "different data" in data
    larger = report().model_copy(update={"size": known.size.model_copy(update={"nonzero": 4810})})
    (size,) = compare({"a": report(), "b": larger}).cautions
    assert "11.4% to 100.0% of the parameters" in size
    assert compare({"a": of_macs(300, 4810), "b": of_macs(305, 2000)}).cautions == (), "as many MACs"
    (size,) = compare({"a": of_macs(300, 4810), "b": of_macs(400, 2000)}).cautions
    assert "30.0% to 40.0% of the MACs" in size
    (timed,) = compare({"a": timed_at(1), "b": timed_at(32)}).cautions
    assert "different batch sizes" in timed
    assert compare({"a": timed_at(1), "b": timed_at(1)}).cautions == ()


def of_macs(pruned: int, parameters: int) -> Report:
    one = report()
    size = one.size.model_copy(update={"nonzero": parameters})
    return one.model_copy(update={"size": size, "macs": Macs(dense=1000, pruned=pruned)})


def timed_at(batch: int) -> Report:
    times = dict.fromkeys(("dense_p50_ms", "dense_p95_ms", "pruned_p50_ms", "pruned_p95_ms"), 1.0)
    row = Latency(batch=batch, **times, speed_up=1.5, runs=3, threads=1, device="cpu")
    return report().model_copy(update={"latency": (row,)})


def test_the_same_file_uploaded_twice_is_the_same_data() -> None:
    again = {"train": "dst_" + "1" * 26, "test": "dst_" + "2" * 26}
    digests = dict.fromkeys(again.values(), report().provenance.data_sha256[SPEC["data"]["train"]])
    found = compare({"a": report(), "b": report(spec={"data": SPEC["data"] | again}, data_sha256=digests)})
    assert found.cautions == ()
    assert [each.asked for each in found.jobs] == [{}, {}]


def test_validation_data_taken_aside_are_others_with_another_seed() -> None:
    def aside(seed: int) -> Report:
        data = {name: value for name, value in SPEC["data"].items() if name != "test"}
        one = report(spec={"data": data, "seed": seed})
        return one.model_copy(update={"metric": one.metric.model_copy(update={"on": "validation"})})

    (same,) = compare({"a": aside(0), "b": aside(0)}).cautions
    assert "by which each chose" in same
    (other,) = compare({"a": aside(0), "b": aside(1)}).cautions
    assert "different data" in other


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        (({"kind": "classification"}, {"kind": "regression"}), "classification and regression"),
        (({"kind": "causal_lm"}, {"kind": "masked_lm"}), "causal_lm and masked_lm"),
        (({"kind": "classification", "output": 1}, {"kind": "classification", "output": 2}), "tion, 1 and classif"),
    ],
)
def test_different_tasks_are_refused(tasks: tuple[dict[str, Any], ...], told: str) -> None:
    with pytest.raises(ValueError, match=f"{told}.*: compare those of one"):
        compare({str(at): report(spec={"task": task}) for at, task in enumerate(tasks)})


@pytest.mark.parametrize("number", [0, 1])
def test_there_must_be_something_to_compare(number: int) -> None:
    with pytest.raises(ValueError, match="name two jobs or more"):
        compare({str(at): report() for at in range(number)})
