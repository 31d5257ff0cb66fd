"""Any part is killed in the middle of round 2; the job goes on by itself and ends with an undisturbed run's bytes."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from secateur.resources import Job
from tests.integration.deployment import LEASE_S, Deployment, until
from tests.integration.digits import Files, submit

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def undisturbed(files: Files, running: Deployment) -> dict[str, str]:
    """The digests of the job when nobody disturbs it."""
    running.settle()
    job = running.wait(submit(running.client, files))
    assert job.attempts == 1
    return digests(job)


def digests(job: Job) -> dict[str, str]:
    assert job.state == "succeeded", job.error
    return {file.name: file.sha256 for file in job.artifacts if file.name != "report.json"}


def runners(deployment: Deployment, job_id: str) -> list[str]:
    """The workers that began an attempt at the job, in order."""
    return [event.data["worker"] for event in deployment.events(job_id) if event.data.get("state") == "running"]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_child(deployment: Deployment, files: Files, undisturbed: dict[str, str]) -> None:
    job = submit(deployment.client, files)
    deployment.wait_for_training(job, 2)
    zygote, child = deployment.descendants(deployment.workers[0])

    child.kill()

    ended = deployment.wait(job)
    assert ended.attempts == 2
    assert digests(ended) == undisturbed
    assert zygote.is_running()


def test_a_killed_worker_leaves_no_process_and_its_job_goes_on(
    deployment: Deployment, files: Files, undisturbed: dict[str, str]
) -> None:
    job = submit(deployment.client, files)
    deployment.wait_for_training(job, 2)
    worker = deployment.workers[0]
    below = deployment.descendants(worker)
    assert len(below) == 2

    worker.kill()
    time.sleep(2)
    assert alive(below) == []

    deployment.start_worker()
    ended = deployment.wait(job)
    assert ended.attempts == 2
    assert digests(ended) == undisturbed


def test_a_killed_redis(deployment: Deployment, files: Files, undisturbed: dict[str, str]) -> None:
    job = submit(deployment.client, files)
    deployment.wait_for_training(job, 2)

    deployment.redis.kill()
    time.sleep(1)
    deployment.redis.start()

    ended = deployment.wait(job)
    assert digests(ended) == undisturbed


def test_a_redis_away_for_longer_than_a_lease(
    deployment: Deployment, files: Files, undisturbed: dict[str, str]
) -> None:
    job = submit(deployment.client, files, slow=True)
    deployment.wait_for_training(job, 2)
    _, child = deployment.descendants(deployment.workers[0])

    deployment.redis.kill()
    until(lambda: not alive([child]), LEASE_S, "the child to end itself")
    time.sleep(2)
    deployment.redis.start()

    ended = deployment.wait(job)
    assert ended.state == "succeeded"
    assert ended.attempts == 2


def test_a_stopped_worker_that_comes_back_writes_nothing(deployment: Deployment, files: Files) -> None:
    job = submit(deployment.client, files, slow=True)
    stopped = deployment.workers[0]
    deployment.wait_for_training(job, 2)
    _, child = deployment.descendants(stopped)

    os.kill(stopped.pid, signal.SIGSTOP)
    deployment.start_worker()
    until(lambda: deployment.client.job(job).attempts == 2, 10 * LEASE_S, "the second attempt")
    assert alive([child]) == [], "two children worked at one job"
    os.kill(stopped.pid, signal.SIGCONT)

    ended = deployment.wait(job)
    assert ended.state == "succeeded"
    assert ended.attempts == 2
    attempts = [event.attempt for event in deployment.events(job)]
    assert attempts == sorted(attempts), "the first attempt wrote after the second had begun"
    assert len(set(runners(deployment, job))) == 2


def test_a_worker_that_is_told_to_stop_hands_its_job_on(
    deployment: Deployment, files: Files, undisturbed: dict[str, str]
) -> None:
    job = submit(deployment.client, files)
    deployment.wait_for_training(job, 2)

    deployment.workers[0].terminate()
    deployment.workers[0].wait(timeout=30)
    assert deployment.client.job(job).state == "queued"

    deployment.start_worker()
    ended = deployment.wait(job)
    assert ended.attempts == 1, "a pause burnt an attempt"
    assert digests(ended) == undisturbed


def test_cancel_stops_the_child_within_five_seconds(deployment: Deployment, files: Files) -> None:
    job = submit(deployment.client, files, slow=True)
    deployment.wait_for_training(job, 1)
    _, child = deployment.descendants(deployment.workers[0])

    deployment.client.cancel(job)
    until(lambda: not alive([child]), 5, "the child to end")

    assert deployment.wait(job, 5).state == "cancelled"
    assert not list((deployment.folder / "data" / "jobs" / job).rglob("*.safetensors"))


def test_two_workers_never_run_one_job(deployment: Deployment, files: Files) -> None:
    deployment.start_worker()
    jobs = [submit(deployment.client, files) for _ in range(4)]
    ended = [deployment.wait(job) for job in jobs]
    assert [job.attempts for job in ended] == [1] * 4
    runs = [runners(deployment, job) for job in jobs]
    assert [len(run) for run in runs] == [1] * 4
    assert len({run[0] for run in runs}) == 2, "one of the workers had nothing to do"
