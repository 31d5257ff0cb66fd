"""Ways of training back, through HTTP, Redis, Celery and the child: a ticket with its initialisation, and a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from examples.digits import Digits, export
from secateur.errors import InvalidSpec
from secateur.report import Report
from secateur.transport import ApiError
from tests.integration.deployment import Deployment
from tests.integration.digits import Files

pytestmark = pytest.mark.integration

ROUNDS = {"kind": "iterative", "rounds": 2, "curve": "geometric"}


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo's network is before it is trained."""
    torch.manual_seed(0)
    return export(Digits().eval(), tmp_path_factory.mktemp("initial") / "initial.pt2")


def done(deployment: Deployment, files: Files, prune: Any, recover: Any, folder: Path) -> Report:
    spec = {"prune": prune, "recover": recover, "finalize": {"artifacts": ["safetensors", "figure"], "latency": None}}
    result = deployment.client.compress(files.model, train=files.train, test=files.test, spec=spec)
    fetched = result.fetch(folder)
    assert fetched["metric.png"].read_bytes().startswith(b"\x89PNG")
    return result.report


def test_a_ticket_goes_back_to_the_model_that_is_uploaded_as_its_beginning(
    deployment: Deployment, files: Files, initial: Path, tmp_path: Path
) -> None:
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.05, "epochs": 3, "controls": "last_round"}
    prune = {"target": {"kind": "sparsity", "amount": 0.5}, "schedule": ROUNDS}

    report = done(deployment, files, prune, {**ticket, "initial": str(initial)}, tmp_path)

    assert report.rounds[-1].ticket is not None
    assert report.rounds[-1].ticket.ticket == report.metric.recovered > 0.8
    assert None not in (report.rounds[-1].ticket.random_reinit, report.rounds[-1].ticket.random_mask)


def test_the_initialisation_of_another_network_is_refused_at_the_door(
    deployment: Deployment, files: Files, tmp_path: Path
) -> None:
    other = export(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), tmp_path / "other.pt2")
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.05, "initial": str(other)}
    prune = {"target": {"kind": "sparsity", "amount": 0.5}, "schedule": ROUNDS}
    with pytest.raises(ApiError, match="no earlier state of the model") as refused:
        done(deployment, files, prune, ticket, tmp_path)
    assert refused.value.code == InvalidSpec.code


def test_a_search_stays_within_its_budget(deployment: Deployment, files: Files, tmp_path: Path) -> None:
    target = {"kind": "max_accuracy_drop", "amount": 0.02}
    tuned = {"kind": "fine_tune", "original_learning_rate": 0.05, "epochs_per_round": 1, "epochs": 3}

    report = done(deployment, files, {"target": target, "schedule": ROUNDS}, tuned, tmp_path)

    assert report.budget is not None
    assert report.budget.found is not None
    assert report.budget.found >= report.budget.bound == pytest.approx(report.budget.dense - 0.02)
    assert report.budget.epochs <= 3 * report.budget.epochs_of_one_job
    assert report.sparsity is not None
    assert report.sparsity.overall > 0.5


@pytest.mark.parametrize("prune", [{"granularity": "weight"}, {"granularity": "unit"}], ids=["weights", "units"])
def test_what_layers_matter_is_measured_once_for_all_jobs(
    prune: dict[str, Any], deployment: Deployment, files: Files, tmp_path: Path
) -> None:
    measured = done(deployment, files, {**prune, "target": {"kind": "sensitivity"}}, {"kind": "none"}, tmp_path / "a")
    kind = "parameters" if prune["granularity"] == "unit" else "sparsity"
    target = {"kind": kind, "amount": 0.3}

    report = done(
        deployment, files, {**prune, "scope": "sensitivity", "target": target}, {"kind": "none"}, tmp_path / "b"
    )

    assert measured.sensitivity is not None
    assert len(measured.sensitivity.curves) > 1
    assert report.sensitivity == measured.sensitivity
    assert any("known from a job before" in note for note in report.notes)
    assert not any("known from a job before" in note for note in measured.notes)
