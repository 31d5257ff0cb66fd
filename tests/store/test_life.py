"""The life of a job against a plain model of it, under every order of what workers, users and death can do."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run

from secateur.errors import FenceLost, WrongState
from secateur.redis_server import RedisServer
from secateur.states import is_terminal
from store.leases import Claim
from store.settings import StoreSettings
from store.store import Store
from tests.store.samples import ready_spec, report

MAX_ATTEMPTS = 2


@dataclass
class Expected:
    """What a job should look like."""

    state: str = "queued"
    attempts: int = 0
    owner: int | None = None
    lease_runs: bool = False
    cancel_requested: bool = False

    def end(self, state: str) -> None:
        self.state, self.owner = state, None

    def die(self) -> None:
        """The attempt is over without a result."""
        if self.cancel_requested:
            self.end("cancelled")
        elif self.attempts >= MAX_ATTEMPTS:
            self.end("failed")
        else:
            self.end("queued")


class Life(RuleBasedStateMachine):
    """Three workers, users and a reaper on one record."""

    server: ClassVar[RedisServer]
    claims = Bundle("claims")
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(
            StoreSettings(
                redis_url=self.server.url,
                namespace=secrets.token_hex(8),
                data_dir=Path(self.folder.name),
                max_attempts=MAX_ATTEMPTS,
            )
        )
        self.raw = redis.Redis.from_url(self.server.url)
        self.jobs: dict[str, Expected] = {}
        self.highest_fence = 0

    def teardown(self) -> None:
        self.store.close()
        self.raw.close()
        self.folder.cleanup()

    @initialize()
    def uploads(self) -> None:
        self.spec = ready_spec(self.store)
        self.highest_fence = 2

    @rule(target=ids, priority=st.integers(-1, 1))
    def create(self, priority: int) -> str:
        job, _ = self.store.jobs.create(self.spec.model_copy(update={"priority": priority}))
        self.jobs[job.id] = Expected()
        return job.id

    @rule(target=claims, worker=st.sampled_from("abc"))
    def claim(self, worker: str) -> object:
        self.bury()
        claim = self.store.leases.claim_job(worker, ["any"])
        waiting = [job_id for job_id, job in self.jobs.items() if job.state == "queued"]
        if claim is None:
            assert not waiting
            return multiple()
        assert claim.id in waiting, "only what waits is claimed, so a job never has two owners"
        assert claim.fence > self.highest_fence
        self.highest_fence = claim.fence
        job = self.jobs[claim.id]
        job.state, job.owner, job.lease_runs = "running", claim.fence, True
        job.attempts += 1
        assert claim.attempt == job.attempts
        return claim

    @rule(job_id=ids)
    def expire(self, job_id: str) -> None:
        self.raw.zadd(f"{self.store.settings.namespace}:leases", {job_id: 0}, xx=True)
        if job_id in self.jobs:
            self.jobs[job_id].lease_runs = False

    @rule()
    def sweep(self) -> None:
        self.store.reaper.sweep()
        self.bury()

    def bury(self) -> None:
        for job in self.jobs.values():
            if job.state == "running" and not job.lease_runs:
                job.die()

    def owns(self, claim: Claim) -> Expected | None:
        job = self.jobs.get(claim.id)
        return job if job and job.state == "running" and job.owner == claim.fence and job.lease_runs else None

    @rule(claim=claims, threads=st.integers(1, 4))
    def write(self, claim: Claim, threads: int) -> None:
        if job := self.owns(claim):
            assert claim.renew().cancel_requested == job.cancel_requested
            claim.progress(0.5)
        else:
            for late in (claim.renew, lambda: claim.progress(0.9), lambda: claim.threads_fixed(threads)):
                with pytest.raises(FenceLost):
                    late()

    @rule(claim=consumes(claims), end=st.sampled_from(["succeed", "fail", "cancelled", "release", "lost"]))
    def finish(self, claim: Claim, end: str) -> None:
        ends = {
            "succeed": lambda: claim.succeed(report(self.spec), []),
            "fail": lambda: claim.fail({"code": "diverged", "message": ""}),
            "cancelled": claim.cancelled,
            "release": claim.release,
            "lost": lambda: claim.lost("x"),
        }
        job = self.owns(claim)
        if job is None:
            with pytest.raises(FenceLost):
                ends[end]()
        elif end == "cancelled" and not job.cancel_requested:
            with pytest.raises(WrongState):
                claim.cancelled()
        else:
            ends[end]()
            self.after(job, end)

    def after(self, job: Expected, end: str) -> None:
        if end == "lost":
            job.die()
        elif end == "release":
            job.attempts -= 0 if job.cancel_requested else 1
            job.end("cancelled" if job.cancel_requested else "queued")
        else:
            job.end({"succeed": "succeeded", "fail": "failed", "cancelled": "cancelled"}[end])

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None:
            return
        if is_terminal(job.state):
            with pytest.raises(WrongState):
                self.store.jobs.cancel(job_id)
            return
        self.store.jobs.cancel(job_id)
        if job.state == "queued":
            job.end("cancelled")
        else:
            job.cancel_requested = True

    @rule(job_id=ids)
    def delete(self, job_id: str) -> None:
        job = self.jobs.get(job_id)
        if job is None:
            return
        if is_terminal(job.state):
            self.store.jobs.delete(job_id)
            del self.jobs[job_id]
        else:
            with pytest.raises(WrongState):
                self.store.jobs.delete(job_id)

    @invariant()
    def record_is_as_expected(self) -> None:
        shown = {job.id: job for job in self.store.jobs.list(limit=1000).data}
        assert shown.keys() == self.jobs.keys(), "no job is lost, none appears"
        for job_id, job in self.jobs.items():
            assert (shown[job_id].state, shown[job_id].attempts) == (job.state, job.attempts)
            assert (shown[job_id].worker is not None) == (job.state == "running")
            assert (shown[job_id].finished_at is not None) == is_terminal(job.state)

    @invariant()
    def every_waiting_job_has_one_place(self) -> None:
        queue = self.raw.zrange(f"{self.store.settings.namespace}:queue:any", 0, -1)
        leased = self.raw.zrange(f"{self.store.settings.namespace}:leases", 0, -1)
        assert sorted(map(bytes.decode, queue)) == sorted(i for i, job in self.jobs.items() if job.state == "queued")
        assert sorted(map(bytes.decode, leased)) == sorted(i for i, job in self.jobs.items() if job.state == "running")


def test_the_life_of_jobs(redis_server: RedisServer) -> None:
    Life.server = redis_server
    checks = [HealthCheck.too_slow]
    run(Life, settings=settings(max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=checks))
