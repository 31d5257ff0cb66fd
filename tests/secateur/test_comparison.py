"""Which of some jobs came off best, and what differs between them."""

from __future__ import annotations

from typing import Any

import pytest

from app.examples import REPORT, SPEC
from secateur.comparison import compare
from secateur.report import Report
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


def test_a_job_by_itself_differs_from_none() -> None:
    (only,) = compare({"a": report()}).jobs
    assert (only.asked, only.behind, only.level) == ({}, 0, True)
    assert only.parameters_left == pytest.approx(548 / 4810)
    assert (only.macs_left, only.speed_up) == (None, None)


def test_it_is_said_where_they_should_not_be_compared() -> None:
    other = {"data": SPEC["data"] | {"test": "dst_" + "1" * 26}}
    assert compare({"a": report(), "b": report()}).cautions == ()
    (models,) = compare({"a": report(), "b": report(model_sha256="1" * 64)}).cautions
    assert "different models" in models
    (data,) = compare({"a": report(), "b": report(spec=other)}).cautions
    assert "different data" in data


def test_validation_data_taken_aside_are_others_with_another_seed() -> None:
    def aside(seed: int) -> Report:
        data = {name: value for name, value in SPEC["data"].items() if name != "test"}
        one = report(spec={"data": data, "seed": seed})
        return one.model_copy(update={"metric": one.metric.model_copy(update={"on": "validation"})})

    (same,) = compare({"a": aside(0), "b": aside(0)}).cautions
    assert "by which each chose" in same
    (other,) = compare({"a": aside(0), "b": aside(1)}).cautions
    assert "different data" in other


def test_different_metrics_are_refused() -> None:
    one = report()
    other = one.model_copy(update={"metric": one.metric.model_copy(update={"name": "perplexity"})})
    with pytest.raises(ValueError, match="accuracy and perplexity: compare those of one task"):
        compare({"a": one, "b": other})
