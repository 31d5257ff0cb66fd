"""Half of the multiply-accumulates go, through HTTP, Redis, Celery and the child, also when the child is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from examples.digits import digits
from secateur.resources import Job
from tests.integration.deployment import Deployment
from tests.integration.digits import Files, spec

pytestmark = pytest.mark.integration

PRUNE = {
    "granularity": "unit",
    "target": {"kind": "macs", "amount": 0.5},
    "schedule": {"kind": "iterative", "rounds": 3},
}


@pytest.fixture(scope="module")
def undisturbed(running: Deployment, files: Files) -> Job:
    running.settle()
    job = running.wait(running.client.submit(spec(running.client, files, prune=PRUNE)).id)
    assert job.state == "succeeded", job.error
    return job


def digests(job: Job) -> dict[str, str]:
    return {file.name: file.sha256 for file in job.artifacts if file.name != "report.json"}


def macs(program: Any, images: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        program(images)
    return counter.get_total_flops() // 2


def test_half_of_the_work_is_gone_and_stock_torch_runs_the_rest(
    deployment: Deployment, files: Files, undisturbed: Job, tmp_path: Path
) -> None:
    client = deployment.client
    report = client.report(undisturbed.id)
    client.fetch(undisturbed.id, tmp_path)
    dense, pruned = (torch.export.load(path).module() for path in (files.model, tmp_path / "model.pt2"))
    test = digits()["test"]

    before, after = macs(dense, test["image"]), macs(pruned, test["image"])

    assert after / before == pytest.approx(0.5, abs=0.01)
    assert report.macs is not None
    assert (report.macs.dense, report.macs.pruned) == (before // len(test["image"]), after // len(test["image"]))
    assert report.proof is not None
    assert report.proof.holds
    found = float((pruned(test["image"]).argmax(1) == test["target"]).float().mean())
    assert report.metric.recovered == pytest.approx(found)
    assert found > report.metric.dense - 0.02


def test_a_killed_child(deployment: Deployment, files: Files, undisturbed: Job) -> None:
    job = deployment.client.submit(spec(deployment.client, files, prune=PRUNE)).id
    deployment.wait_for_training(job, 2)
    _, child = deployment.descendants(deployment.workers[0])

    child.kill()

    ended = deployment.wait(job)
    assert ended.state == "succeeded", ended.error
    assert ended.attempts == 2
    assert digests(ended) == digests(undisturbed)
