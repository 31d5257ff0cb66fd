"""Jobs share what they measured exactly where nothing that decides about it differs."""

from __future__ import annotations

from typing import Any

import pytest

from app.examples import SPEC, TRAIN_ID
from secateur.spec import JobSpec
from worker.fingerprint import of_sensitivity

DATA = {TRAIN_ID: "1" * 64}
MEASURE: dict[str, Any] = {**SPEC, "prune": {"target": {"kind": "sensitivity"}}, "recover": {"kind": "none"}}
SPREAD: dict[str, Any] = {**SPEC, "prune": {**SPEC["prune"], "scope": "sensitivity"}, "recover": {"kind": "none"}}


def digest(
    spec: dict[str, Any], model: str = "0" * 64, device: str = "cpu", threads: int = 1, **data: str
) -> str | None:
    return of_sensitivity(JobSpec.model_validate(spec), model, {**DATA, **data}, device, threads)


def changed(spec: dict[str, Any], part: str, **fields: Any) -> dict[str, Any]:
    return {**spec, part: {**spec[part], **fields}}


def test_what_was_measured_serves_to_spread_whatever_the_target() -> None:
    assert digest(MEASURE) is not None
    assert digest(SPREAD) == digest(MEASURE)
    assert digest(changed(SPREAD, "prune", target={"kind": "sparsity", "amount": 0.1})) == digest(MEASURE)
    assert digest({**MEASURE, "data": {"train": TRAIN_ID}}) == digest(MEASURE), "test data only reports"


@pytest.mark.parametrize(
    "other",
    [
        {**MEASURE, "seed": 1},
        {**MEASURE, "task": {"kind": "regression"}},
        changed(MEASURE, "data", validation=0.3),
        changed(MEASURE, "prune", importance={"kind": "lamp"}),
        changed(MEASURE, "prune", layers={"exclude": ["fc*"]}),
        changed(MEASURE, "prune", granularity="neuron"),
        changed(MEASURE, "prune", target={"kind": "sensitivity", "amounts": [0.5]}),
    ],
)
def test_what_decides_is_in_it(other: dict[str, Any]) -> None:
    assert digest(other) != digest(MEASURE)


def test_other_bytes_devices_and_threads_are_others() -> None:
    others = [digest(MEASURE, "2" * 64), digest(MEASURE, device="cuda:0"), digest(MEASURE, threads=2)]
    others.append(digest(MEASURE, **{TRAIN_ID: "3" * 64}))
    assert len({digest(MEASURE), *others}) == 5


def test_jobs_that_measure_nothing_or_what_only_they_have_share_nothing() -> None:
    assert digest(SPEC) is None
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.1}
    assert digest({**SPREAD, "recover": ticket}) is None
