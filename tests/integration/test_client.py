"""From Python and from the shell, against the real service."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from secateur.resources import Job
from tests.integration.deployment import Deployment, until
from tests.integration.digits import Files

pytestmark = pytest.mark.integration

QUICK = ["--rounds", "2", "--epochs", "1", "--epochs-per-round", "1"]


def secateur(deployment: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from secateur.cli import main; main()", *words, "--url", deployment.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_compress_and_fetch(deployment: Deployment, files: Files, tmp_path: Path) -> None:
    seen: list[str] = []
    result = deployment.client.compress(
        files.model,
        train=files.train,
        test=files.test,
        spec={
            "prune": {"target": {"kind": "sparsity", "amount": 0.8}, "schedule": {"kind": "one_shot"}},
            "recover": {"kind": "fine_tune", "original_learning_rate": 0.1, "epochs": 1},
        },
        on_event=lambda event: seen.append(event.type),
    )
    assert result.report.metric.on == "test"
    assert result.report.sparsity.zeros == round(0.8 * result.report.sparsity.total)
    assert {"state", "stage", "metric", "checkpoint"} <= set(seen)
    result.fetch(tmp_path)
    assert torch.export.load(tmp_path / "model.pt2").module()(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_prune_from_the_shell(deployment: Deployment, files: Files, tmp_path: Path) -> None:
    done = secateur(
        deployment, "prune", str(files.model), "--train", str(files.train), "--test", str(files.test),
        "--sparsity", "0.9", "--original-lr", "0.1", "--out", str(tmp_path / "out"), "--json", *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert json.dumps(said).count('"recovered"') >= 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.pt2", "model.safetensors", "report.json"}


def test_a_job_that_was_cancelled_is_no_success_for_the_shell(
    deployment: Deployment, files: Files, tmp_path: Path
) -> None:
    before = {job.id for job in deployment.client.jobs()}

    def cancel() -> None:
        until(lambda: any(job.stage == "fine_tune" for job in begun()), 60, "the job to train")
        deployment.client.cancel(begun()[0].id)

    def begun() -> list[Job]:
        return [job for job in deployment.client.jobs() if job.id not in before]

    thread = threading.Thread(target=cancel)
    thread.start()
    done = secateur(
        deployment, "prune", str(files.model), "--train", str(files.train), "--sparsity", "0.5",
        "--original-lr", "0.1", "--epochs", "5000", "--rounds", "1", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    thread.join()
    assert done.returncode == 1
    assert "cancelled" in done.stderr
    assert not list(tmp_path.rglob("*.pt2"))
