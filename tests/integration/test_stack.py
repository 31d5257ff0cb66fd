"""`secateur up`, stopped in the middle of a job and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur import Client
from secateur.stack import Stack
from secateur.states import JobState
from tests.integration.deployment import until
from tests.integration.digits import Files, submit

pytestmark = pytest.mark.integration


def test_what_was_begun_goes_on_at_the_next_start(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_THREADS", "1")  # two would wait for each other where something else keeps a core busy
    with Stack(data_dir=tmp_path, device="cpu") as stack, Client(stack.url) as client:
        job = submit(client, files, slow=True)
        until(lambda: client.job(job).stage == "fine_tune", 60, "the job to train")

    with Stack(data_dir=tmp_path, device="cpu") as stack, Client(stack.url) as client:
        until(lambda: client.job(job).state == JobState.SUCCEEDED, 120, "the job to end")
        ended = client.job(job)
        report = client.report(job)

    assert ended.attempts == 1, "a pause burnt an attempt"
    assert any("went on from a checkpoint" in note for note in report.notes)
