from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from secateur.errors import FenceLost, SecateurError, Unavailable, WrongState
from secateur.resources import Artifact
from secateur.states import JobState, Stage, UploadState
from store.leases import Claim
from store.scripts import Scripts
from store.store import Store
from tests.store.samples import DATASET, MODEL, ready_spec, report, upload

Expire = Callable[[str], None]


def queued(store: Store) -> str:
    return store.jobs.create(ready_spec(store))[0].id


def claimed(store: Store, worker: str = "w") -> Claim:
    claim = store.leases.claim_job(worker, ["cpu", "any"])
    assert claim is not None
    return claim


def claimed_upload(store: Store) -> Claim:
    claim = store.leases.claim_upload("w")
    assert claim is not None
    return claim


READERS: dict[str, Callable[[redis.Redis, str], object]] = {
    "hash": lambda raw, key: raw.hgetall(key),
    "set": lambda raw, key: raw.smembers(key),
    "string": lambda raw, key: raw.get(key),
    "list": lambda raw, key: raw.lrange(key, 0, -1),
    "stream": lambda raw, key: raw.xrange(key),
    "zset": lambda raw, key: raw.zrange(key, 0, -1, withscores=True),
}


def everything(raw: redis.Redis, store: Store) -> dict[str, object]:
    """All that the store's namespace holds."""
    found: dict[str, object] = {}
    for key in raw.scan_iter(f"{store.settings.namespace}:*"):
        found[key] = READERS[raw.type(key)](raw, key)
    return found


WRITES: dict[str, Callable[[Claim], object]] = {
    "renew": lambda claim: claim.renew(),
    "threads": lambda claim: claim.threads_fixed(7),
    "stage": lambda claim: claim.stage(Stage.PRUNE, 2),
    "progress": lambda claim: claim.progress(0.7),
    "event": lambda claim: claim.event("note", {"message": "late"}),
    "checkpoint": lambda claim: claim.save_checkpoint("jobs/late", "0" * 64, {}),
    "succeed": lambda claim: claim.succeed(report(claim.record.spec), []),  # type: ignore[union-attr]
    "fail": lambda claim: claim.fail({"code": "diverged", "message": "late"}),
    "cancelled": lambda claim: claim.cancelled(),
    "release": lambda claim: claim.release(),
    "lost": lambda claim: claim.lost("late"),
}


@pytest.mark.parametrize("fate", ["expired", "requeued", "taken over", "ended", "deleted"])
def test_a_stale_owner_changes_nothing(store: Store, raw: redis.Redis, expire: Expire, fate: str) -> None:
    queued(store)
    stale = claimed(store)
    stale.threads_fixed(2)
    expire(stale.id)
    if fate != "expired":
        store.reaper.sweep()
    if fate in {"taken over", "ended", "deleted"}:
        owner = claimed(store, "other")
        assert owner.id == stale.id
        assert owner.fence > stale.fence
        if fate != "taken over":
            owner.fail({"code": "diverged", "message": "really"})
        if fate == "deleted":
            store.jobs.delete(owner.id)
    before = everything(raw, store)
    for write in WRITES.values():
        with pytest.raises(FenceLost):
            write(stale)
        assert everything(raw, store) == before


def test_artifacts_of_a_stale_owner_are_not_held(store: Store, raw: redis.Redis, expire: Expire) -> None:
    queued(store)
    stale = claimed(store)
    with store.blobs.writer() as writer:
        writer.write(b"late")
        blob = writer.commit()
    expire(stale.id)
    with pytest.raises(FenceLost):
        stale.succeed(report(ready_spec(store)), [Artifact(name="a", size_bytes=4, sha256=blob.sha256)])
    assert not raw.exists(f"{store.settings.namespace}:blob:{blob.sha256}")
    assert store.jobs.get(stale.id).artifacts == ()


def test_each_of_many_jobs_is_claimed_once_by_many_threads(store: Store) -> None:
    wanted = ready_spec(store)
    jobs = {store.jobs.create(wanted)[0].id for _ in range(50)}

    def take(worker: str) -> list[tuple[str, int]]:
        taken = []
        while claim := store.leases.claim_job(worker, ["any"]):
            taken.append((claim.id, claim.fence))
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [pair for pairs in pool.map(take, map(str, range(8))) for pair in pairs]
    assert len(taken) == 50
    assert {job_id for job_id, _ in taken} == jobs
    assert len({fence for _, fence in taken}) == 50


def test_a_claim_carries_what_the_last_attempt_left(store: Store, expire: Expire) -> None:
    queued(store)
    first = claimed(store)
    assert (first.attempt, first.checkpoint, first.threads, first.noun) == (1, None, None, "job")
    assert first.threads_fixed(2) == 2
    first.stage(Stage.PRUNE, 1)
    first.save_checkpoint("jobs/x/checkpoint", "0" * 64, {"round": 1})
    expire(first.id)
    second = claimed(store, "other")
    assert second.id == first.id
    assert (second.attempt, second.threads, second.threads_fixed(9)) == (2, 2, 2)
    assert second.checkpoint == ("jobs/x/checkpoint", "0" * 64, {"round": 1})
    assert store.jobs.get(first.id).worker == "other"
    reasons = [event.data for event in store.events.page(first.id).data if event.type == "state"]
    assert [reason["state"] for reason in reasons] == ["queued", "running", "queued", "running"]
    assert reasons[2]["worker"] == "w"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "jobs/../../x"])
def test_checkpoints_stay_in_the_data_folder(store: Store, path: str) -> None:
    queued(store)
    with pytest.raises(ValueError, match="not a path"):
        claimed(store).save_checkpoint(path, "0" * 64)


def test_a_released_attempt_does_not_count(store: Store) -> None:
    queued(store)
    for _ in range(5):
        claim = claimed(store)
        assert claim.attempt == 1
        claim.release()
    job = store.jobs.get(claim.id)
    assert (job.state, job.attempts, job.queue_position) == (JobState.QUEUED, 0, 0)


@pytest.mark.parametrize("die", ["silently", "noticed"])
def test_a_job_fails_after_its_last_attempt(store: Store, expire: Expire, die: str) -> None:
    queued(store)
    for attempt in (1, 2, 3):
        claim = claimed(store)
        assert claim.attempt == attempt
        if die == "silently":
            expire(claim.id)
            store.reaper.sweep()
        else:
            claim.lost("killed by signal 9")
    job = store.jobs.get(claim.id)
    assert job.error is not None
    assert (job.state, job.error.code, job.attempts) == (JobState.FAILED, "worker_lost", 3)
    assert ("killed by signal 9" if die == "noticed" else "could not reach the record") in job.error.message
    assert store.leases.claim_job("w", ["any"]) is None


@pytest.mark.parametrize("end", ["silently", "noticed", "released", "in order"])
def test_a_job_that_is_to_be_cancelled_ends_so_whatever_its_worker_does(store: Store, expire: Expire, end: str) -> None:
    queued(store)
    claim = claimed(store)
    assert not claim.renew().cancel_requested
    store.jobs.cancel(claim.id)
    assert claim.renew().cancel_requested
    if end == "silently":
        expire(claim.id)
        store.reaper.sweep()
    else:
        {"noticed": lambda: claim.lost("x"), "released": claim.release, "in order": claim.cancelled}[end]()
    assert store.jobs.get(claim.id).state == JobState.CANCELLED


def test_nobody_cancels_on_a_workers_word_alone(store: Store) -> None:
    queued(store)
    claim = claimed(store)
    with pytest.raises(WrongState):
        claim.cancelled()
    assert store.jobs.get(claim.id).state == JobState.RUNNING


def test_saying_the_end_twice_is_no_mistake(store: Store, raw: redis.Redis) -> None:
    """The first answer may have been lost on its way."""
    queued(store)
    claim = claimed(store)
    with store.blobs.writer() as writer:
        writer.write(b"artifact")
        blob = writer.commit()
    artifacts = [Artifact(name="a", size_bytes=8, sha256=blob.sha256)]
    about = report(ready_spec(store))
    claim.succeed(about, artifacts)
    before = everything(raw, store)
    claim.succeed(about, artifacts)
    assert everything(raw, store) == before
    with pytest.raises(FenceLost):
        claim.fail({"code": "diverged", "message": "no"})


def test_an_artifact_without_bytes_is_not_published(store: Store) -> None:
    queued(store)
    claim = claimed(store)
    with pytest.raises(Unavailable):
        claim.succeed(report(ready_spec(store)), [Artifact(name="a", size_bytes=1, sha256="0" * 64)])
    assert store.jobs.get(claim.id).state == JobState.RUNNING


def test_the_last_round_is_told_while_a_job_is_finished(store: Store) -> None:
    queued(store)
    claim = claimed(store)
    for stage, number in ((Stage.EVALUATE, 0), (Stage.FINE_TUNE, 3), (Stage.FINALIZE, 0)):
        claim.stage(stage, number)
    job = store.jobs.get(claim.id)
    assert (job.stage, job.round) == (Stage.FINALIZE, 3)


def test_what_the_owner_says_is_shown(store: Store) -> None:
    queued(store)
    claim = claimed(store)
    claim.stage(Stage.FINE_TUNE, 3)
    for step in range(200):
        claim.progress(step / 199, {"loss": float("inf")})
    claim.event("metric", {"accuracy": 0.5})
    job = store.jobs.get(claim.id)
    assert (job.stage, job.round, job.progress) == (Stage.FINE_TUNE, 3, 1.0)
    assert job.last_heartbeat_at is not None
    events = store.events.page(claim.id, limit=1000).data
    progress = [event.data for event in events if event.type == "progress"]
    assert 60 <= len(progress) <= 101
    assert progress[-1] == {"loss": None, "fraction": 1.0}
    assert events[-1].data == {"accuracy": 0.5}
    assert {event.attempt for event in events[1:]} == {1}


class Flaky:
    """Scripts whose next answers are lost on their way: what was asked for is done, and the asker does not know."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts
        self.lost = 0

    def run(self, name: str, **arguments: Any) -> dict[str, Any]:
        answer = self.scripts.run(name, **arguments)
        if self.lost:
            self.lost -= 1
            raise Unavailable
        return answer


@pytest.fixture
def flaky(store: Store) -> Flaky:
    store.leases._scripts = flaky = Flaky(store.leases._scripts)  # type: ignore[assignment]
    return flaky


def test_a_write_that_is_tried_again_happens_once(store: Store, flaky: Flaky) -> None:
    queued(store)
    claim = claimed(store)
    writes: list[Callable[[], object]] = [
        lambda: claim.stage(Stage.PRUNE, 1),
        lambda: claim.progress(0.5, {"loss": 1.0}),
        lambda: claim.event("metric", {"accuracy": 0.5}),
        lambda: claim.event("metric", {"accuracy": 0.5}),
        lambda: claim.save_checkpoint("jobs/x", "0" * 64, {"round": 1}),
    ]
    for write in writes:
        flaky.lost = 2
        for _ in range(2):
            with pytest.raises(Unavailable):
                write()
        write()
    said = [event.type for event in store.events.page(claim.id).data][2:]
    assert said == ["stage", "progress", "metric", "metric", "checkpoint"]
    assert store.jobs.get(claim.id).progress == 0.5


def test_another_write_may_follow_one_without_an_answer(store: Store, flaky: Flaky, expire: Expire) -> None:
    queued(store)
    for attempt in (1, 2):
        claim = claimed(store)
        flaky.lost = 1
        with pytest.raises(Unavailable):
            claim.progress(0.25)
        claim.progress(0.75)
        progress = [
            e.data["fraction"]
            for e in store.events.page(claim.id).data
            if e.attempt == attempt and e.type == "progress"
        ]
        assert progress == [0.25, 0.75]
        expire(claim.id)


def test_a_claim_without_an_answer_is_the_same_when_it_is_asked_for_again(store: Store, flaky: Flaky) -> None:
    first, second = queued(store), queued(store)
    flaky.lost = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            claimed(store)
    claim = claimed(store)
    assert (claim.id, claim.attempt) == (first, 1)
    claim.renew()
    assert store.jobs.get(second).state == JobState.QUEUED
    assert claimed(store).id == second


def test_a_claim_without_an_answer_goes_to_others_once_its_lease_has_run_out(
    store: Store, flaky: Flaky, expire: Expire
) -> None:
    first = queued(store)
    flaky.lost = 1
    with pytest.raises(Unavailable):
        claimed(store)
    expire(first)
    other = claimed(store, "other")
    assert (other.id, other.attempt) == (first, 2)
    assert store.leases.claim_job("w", ["cpu", "any"]) is None


@pytest.mark.parametrize(
    "say",
    [
        lambda claim: claim.fail({"code": "diverged", "message": "x", "n": 10**5000}),
        lambda claim: claim.fail({"code": 7}),
        lambda claim: claim.lost("x" * 10**6),
        lambda claim: claim.progress(float("nan")),
        lambda claim: claim.stage(Stage.PRUNE, 10**5000),
        lambda claim: claim.stage(Stage.PRUNE, -1),
        lambda claim: claim.save_checkpoint("jobs/x", "x" * 10**6),
        lambda claim: claim.save_checkpoint("jobs/x", "0" * 64, {"round": 10**5000}),
        lambda claim: claim.event("metric", {"n": 10**5000}),
        lambda claim: claim.event("metric", {"n": "x" * 10**6}),
        lambda claim: claim.progress(1.0, {"n": "x" * 10**6}),
    ],
)
def test_nothing_that_a_child_says_makes_its_job_unreadable(
    store: Store, raw: redis.Redis, say: Callable[[Claim], object]
) -> None:
    queued(store)
    claim = claimed(store)
    with contextlib.suppress(SecateurError):
        say(claim)
    assert store.jobs.get(claim.id).id == claim.id
    assert [job.id for job in store.jobs.list().data] == [claim.id]
    assert store.events.page(claim.id).data
    prefix = store.settings.namespace
    assert all(int(raw.memory_usage(f"{prefix}:{key}:{claim.id}") or 0) < 50_000 for key in ("record", "events"))


def test_uploads_are_inspected_in_order_and_rejected_after_the_last_attempt(store: Store, expire: Expire) -> None:
    first, second = upload(store, "model"), upload(store, "dataset")
    for _ in range(3):
        claim = claimed_upload(store)
        assert claim.id == first
        expire(first)
    claim = claimed_upload(store)
    assert claim.id == second
    record = store.uploads.get(first)
    assert record.error is not None
    assert (record.state, record.error.code) == (UploadState.REJECTED, "worker_lost")
    claim.fail(WrongState("cannot be read"))
    assert store.uploads.get(second).state == UploadState.REJECTED


def test_an_upload_that_is_given_back_is_inspected_again(store: Store) -> None:
    model = upload(store, "model")
    claimed_upload(store).release()
    assert store.leases.claim_job("w", ["cpu", "any"]) is None
    claim = claimed_upload(store)
    assert (claim.id, claim.attempt) == (model, 1)
    claim.ready(MODEL)
    with pytest.raises(FenceLost):
        claim.reject({"code": "bad_model", "message": "no"})
    assert store.uploads.get(model).state == UploadState.READY


def test_a_lease_runs_on_redis_clock(store: Store, raw: redis.Redis) -> None:
    upload(store, "dataset")
    claim = claimed_upload(store)
    seconds, microseconds = raw.time()
    lease_until = raw.zscore(f"{store.settings.namespace}:leases", claim.id)
    assert lease_until is not None
    left_s = lease_until / 1000 - (seconds + microseconds / 1e6)
    assert store.settings.lease_s - 5 < left_s <= store.settings.lease_s
    claim.ready(DATASET)
    assert raw.zscore(f"{store.settings.namespace}:leases", claim.id) is None
