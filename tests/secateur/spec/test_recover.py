"""What fine-tuning may be asked for, and what is refused with the way out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.examples import SPEC
from benchmarks.accuracy import recipes
from benchmarks.accuracy.candidates import CANDIDATES
from secateur.spec import JobSpec
from secateur.spec.recover import FineTune, Recover, Retrain
from tests.secateur.spec.refusals import problems

RECOVER: TypeAdapter[Any] = TypeAdapter(Recover)


def tuning(**fields: Any) -> dict[str, Any]:
    return {"kind": "fine_tune", "learning_rate": 0.01, **fields}


def test_nothing_is_added_to_the_plain_loop_unasked() -> None:
    spec = FineTune(learning_rate=0.01)
    assert (spec.curve, spec.warmup_steps, spec.accumulate) == ("cosine", 0, 1)
    assert (spec.clip_norm, spec.label_smoothing) == (None, 0.0)
    assert (spec.patience, spec.precision, spec.recalibration_batches) == (None, "full", 0)


def test_retraining_is_the_recipe_that_won() -> None:
    dense = recipes.DENSE["cnn"]
    for kind, name in recipes.OURS.items():
        terms = CANDIDATES[kind][name].terms(dense)["recover"]
        ours = Retrain(original_learning_rate=dense.rate, optimizer=dense.optimizer)
        theirs = FineTune.model_validate(terms)
        assert ours.rate == theirs.rate
        named = {"kind", "original_learning_rate", "learning_rate"}
        epochs = {"epochs", "epochs_per_round"} if kind == "macs" else set()
        assert ours.model_dump(exclude=named | epochs) == theirs.model_dump(exclude=named | epochs)


@pytest.mark.parametrize(
    ("task", "smoothing", "teaches"),
    [
        ({"kind": "classification"}, 0.1, True),
        ({"kind": "causal_lm"}, 0.1, True),
        ({"kind": "regression"}, 0.0, True),
        ({"kind": "distillation_only"}, 0.0, True),
        ({"kind": "distillation_only", "like": "regression"}, 0.0, False),
    ],
)
def test_retraining_leaves_out_what_means_nothing_for_the_task(
    task: dict[str, Any], smoothing: float, teaches: bool
) -> None:
    asked = {**SPEC, "task": task, "recover": {"kind": "retrain", "learning_rate": 0.1}}
    spec = JobSpec.model_validate(asked)
    assert (spec.recover.label_smoothing, spec.recover.distill is not None) == (smoothing, teaches)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    if not smoothing:
        ((where, told),) = problems(task=task, recover=asked["recover"] | {"label_smoothing": 0.1})
        assert (where, "leave it at 0" in told) == ("recover", True)


def test_retraining_by_one_cycle_warms_up_once() -> None:
    asked = {"kind": "retrain", "learning_rate": 0.1, "curve": "one_cycle"}
    assert RECOVER.validate_python(asked).warmup_steps == 0
    assert Retrain(learning_rate=0.1, curve="one_cycle").warmup_steps == 0
    ((where, told),) = problems(recover=asked | {"warmup_steps": 3})
    assert (where, "one_cycle warms up by itself" in told) == ("recover", True)


@given(
    curve=st.sampled_from(["cosine", "constant", "step"]),
    warmup_steps=st.integers(0, 1_000_000),
    accumulate=st.integers(1, 1024),
    clip_norm=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
    label_smoothing=st.floats(0, 1, exclude_max=True),
    patience=st.none() | st.integers(1, 10_000),
    precision=st.sampled_from(["full", "bf16", "fp16"]),
    recalibration_batches=st.integers(0, 10_000),
)
def test_json_there_and_back(**fields: Any) -> None:
    recover = RECOVER.validate_python(tuning(**fields))
    assert RECOVER.validate_json(RECOVER.dump_json(recover)) == recover


@pytest.mark.parametrize(
    ("fields", "where", "told"),
    [
        ({"curve": "linear"}, "recover.curve", "'one_cycle'"),
        ({"warmup_steps": -1}, "recover.warmup_steps", "greater than or equal to 0"),
        ({"warmup_steps": 0.5}, "recover.warmup_steps", "integer"),
        ({"warmup_steps": 1, "curve": "one_cycle"}, "recover", "one_cycle warms up by itself; set warmup_steps to 0"),
        ({"accumulate": 0}, "recover.accumulate", "greater than or equal to 1"),
        ({"accumulate": 1025}, "recover.accumulate", "less than or equal to 1024"),
        ({"clip_norm": 0}, "recover.clip_norm", "greater than 0"),
        ({"clip_norm": float("inf")}, "recover.clip_norm", "finite"),
        ({"clip_norm": float("nan")}, "recover.clip_norm", "finite"),
        ({"label_smoothing": 1}, "recover.label_smoothing", "less than 1"),
        ({"patience": 0}, "recover.patience", "greater than or equal to 1"),
        ({"precision": "fp32"}, "recover.precision", "'bf16'"),
        ({"recalibration_batches": -1}, "recover.recalibration_batches", "greater than or equal to 0"),
        ({"label_smoothing": -0.1}, "recover.label_smoothing", "greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_is_told_where_it_is(fields: dict[str, Any], where: str, told: str) -> None:
    assert [(at, told in message) for at, message in problems(recover=tuning(**fields))] == [(where, True)]


def test_one_cycle_takes_no_warm_up_of_0_amiss() -> None:
    assert FineTune(learning_rate=0.01, curve="one_cycle", warmup_steps=0).curve == "one_cycle"


def test_a_regression_has_no_labels_to_smooth() -> None:
    regression = {"task": {"kind": "regression"}}
    ((where, told),) = problems(recover=tuning(label_smoothing=0.1), **regression)
    assert where == "recover"
    assert "leave it at 0" in told
    for fields in ({"recover": tuning(), **regression}, {"recover": tuning(label_smoothing=0.1)}):
        assert JobSpec.model_validate({**SPEC, **fields}).recover.kind == "fine_tune"


def test_fp16_is_not_for_a_job_that_insists_on_the_cpu() -> None:
    ((where, told),) = problems(recover=tuning(precision="fp16"), device="cpu")
    assert where == "device"
    assert "bf16" in told
    for device, precision in (("auto", "fp16"), ("cuda", "fp16"), ("cpu", "bf16")):
        JobSpec.model_validate({**SPEC, "recover": tuning(precision=precision), "device": device})


def test_without_training_batch_norm_alone_can_be_recalibrated() -> None:
    assert RECOVER.validate_python({"kind": "none", "recalibration_batches": 16}).recalibration_batches == 16
    ((where, _),) = problems(recover={"kind": "none", "patience": 1})
    assert where == "recover.patience"
