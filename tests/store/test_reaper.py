from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from secateur.errors import SecateurError
from secateur.states import JobState
from store.settings import StoreSettings
from store.store import Store
from store.wake import celery_prefix
from tests.store.samples import DATASET, ready_spec, spec, upload


def calls(raw: redis.Redis, store: Store, queue: str) -> int:
    return int(raw.llen(celery_prefix(store.settings) + queue))


@pytest.fixture
def store_settings(store_settings: StoreSettings) -> StoreSettings:
    return store_settings.model_copy(update={"wake_after_s": 0.05})


def test_a_lost_call_is_made_again_but_not_piled_up(store: Store, raw: redis.Redis) -> None:
    store.jobs.create(ready_spec(store))
    assert calls(raw, store, "any") == 1
    raw.delete(celery_prefix(store.settings) + "any")
    time.sleep(0.1)
    for _ in range(3):
        store.reaper.sweep()
    assert calls(raw, store, "any") == 1


def test_a_job_that_was_just_called_is_not_called_again(store: Store, raw: redis.Redis) -> None:
    store.jobs.create(ready_spec(store))
    raw.delete(celery_prefix(store.settings) + "any")
    time.sleep(0.1)
    store.reaper.sweep()
    raw.delete(celery_prefix(store.settings) + "any")
    store.reaper.sweep()
    assert calls(raw, store, "any") == 0


@pytest.mark.parametrize("end", ["released", "noticed", "silent"])
def test_a_job_that_waits_again_is_called_for_at_once(
    store_settings: StoreSettings, raw: redis.Redis, end: str
) -> None:
    store = Store.open(store_settings.model_copy(update={"wake_after_s": 600, "lease_s": 600}))
    store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    raw.delete(celery_prefix(store.settings) + "any")
    if end == "silent":
        raw.zadd(f"{store.settings.namespace}:leases", {claim.id: 0})
        store.reaper.sweep()
    else:
        {"released": claim.release, "noticed": lambda: claim.lost("x")}[end]()
    assert calls(raw, store, "any") == 1
    raw.delete(celery_prefix(store.settings) + "any")  # that call was heard by a worker that could not take the job
    for _ in range(3):
        store.reaper.sweep()
    assert calls(raw, store, "any") == (0 if end == "silent" else 1)
    store.close()


def test_an_attempt_that_was_buried_by_a_claim_is_called_for_by_the_next_sweep(
    store_settings: StoreSettings, raw: redis.Redis
) -> None:
    store = Store.open(store_settings.model_copy(update={"wake_after_s": 600}))
    store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    raw.zadd(f"{store.settings.namespace}:leases", {claim.id: 0})
    raw.delete(celery_prefix(store.settings) + "any")
    assert store.leases.claim_job("w", ["cuda"]) is None
    store.reaper.sweep()
    assert calls(raw, store, "any") == 1
    store.close()


def test_an_upload_that_waits_again_is_called_for_at_once(store: Store) -> None:
    model = upload(store, "model")
    for end in ("release", "lost"):
        assert store.wake.wait_for_upload(5) == model
        claim = store.leases.claim_upload("w")
        assert claim is not None
        claim.release() if end == "release" else claim.lost("x")
    assert store.wake.wait_for_upload(5) == model


def test_what_ended_calls_nobody(store: Store, raw: redis.Redis) -> None:
    store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    store.jobs.cancel(claim.id)
    raw.delete(celery_prefix(store.settings) + "any")
    claim.lost("x")
    assert calls(raw, store, "any") == 0


def test_a_parked_job_that_nobody_admitted_is_admitted(store: Store) -> None:
    job, _ = store.jobs.create(spec(ready_spec(store).model, upload(store, "dataset")))
    claim = store.leases.claim_upload("w")
    assert claim is not None
    claim.ready(DATASET)  # and the worker dies before it admits anybody
    assert store.jobs.get(job.id).waiting_for == "inspection"
    store.reaper.sweep()
    assert store.jobs.get(job.id).queue_position == 0


def test_a_job_fails_when_the_inspection_of_its_model_kills_every_worker(
    store: Store, expire: Callable[[str], None]
) -> None:
    model = upload(store, "model")
    job, _ = store.jobs.create(spec(model, upload(store, "dataset")))
    for _ in range(store.settings.max_attempts):
        assert store.leases.claim_upload("w")
        expire(model)
    store.reaper.sweep()
    failed = store.jobs.get(job.id)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (JobState.FAILED, "wrong_state")
    assert "worker_lost" in failed.error.message


def made(path: Path, *, old: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if old:
        for touched in (path, path.parent):
            os.utime(touched, (0, 0))
    return path


def test_folders_that_nobody_owns_go_when_they_are_old(store: Store, raw: redis.Redis) -> None:
    root = store.settings.data_dir
    store.reaper.sweep()
    old = [made(root / "inspections/3/data.safetensors", old=True), made(root / "jobs/job_gone/x", old=True)]
    busy = made(root / "inspections/4/data.safetensors", old=True)
    new = [busy, made(root / "inspections/5/data", old=False), made(root / "jobs/job_new/x", old=False)]
    os.utime(busy)
    raw.set(f"{store.settings.namespace}:epoch", "of another Redis", get=True)
    store.reaper.sweep()
    assert all(path.exists() for path in (*old, *new)), "these may belong to another record"
    raw.set(f"{store.settings.namespace}:epoch", (root / "epoch").read_text())
    store.reaper.sweep()
    assert not any(path.parent.exists() for path in old)
    assert all(path.exists() for path in new)


def test_of_earlier_attempts_only_the_checkpoint_of_the_record_stays(
    store: Store, expire: Callable[[str], None]
) -> None:
    store.jobs.create(ready_spec(store))
    claims = []
    for _ in range(3):
        claim = store.leases.claim_job("w", ["any"])
        assert claim is not None
        claims.append(claim)
        if len(claims) == 2:
            claim.save_checkpoint(f"jobs/{claim.id}/attempts/{claim.fence}/b", "0" * 64)
        if len(claims) < 3:
            expire(claim.id)
    attempts = [store.jobs.folder(claim.id) / "attempts" / str(claim.fence) for claim in claims]
    for attempt in attempts:
        for name in "abc":
            made(attempt / name, old=True)
    made(attempts[0] / "d", old=False)
    store.reaper.sweep()
    assert [sorted(path.name for path in attempt.iterdir()) for attempt in attempts] == [[*"abcd"], ["b"], [*"abc"]]
    for path in (attempts[0] / "d", attempts[0]):
        os.utime(path, (0, 0))
    store.reaper.sweep()
    assert [attempt.exists() for attempt in attempts] == [False, True, True]


def test_a_strange_record_does_not_end_the_sweep(store: Store, raw: redis.Redis) -> None:
    strange, lost = (store.jobs.create(ready_spec(store))[0].id for _ in range(2))
    made(store.jobs.folder(strange) / "attempts/1/x", old=True)
    stale = made(store.settings.data_dir / "jobs/job_zzz/x", old=True)
    raw.hset(f"{store.settings.namespace}:record:{strange}", mapping={"schema_version": "99", "state": "dreaming"})
    raw.sadd(f"{store.settings.namespace}:parked", strange)
    raw.hset(f"{store.settings.namespace}:record:{lost}", "woken_ms", "0")
    raw.delete(celery_prefix(store.settings) + "any")
    store.reaper.sweep()
    assert not stale.exists()
    assert store.jobs.folder(strange).exists()
    assert calls(raw, store, "any") >= 1


def test_folders_of_jobs_go_when_no_process_can_write_there(store: Store, raw: redis.Redis) -> None:
    ended, running = (store.jobs.create(ready_spec(store))[0].id for _ in range(2))
    store.jobs.cancel(ended)
    for job_id in (ended, running, "job_of_another_record"):
        (store.jobs.folder(job_id) / "attempts").mkdir(parents=True)
    store.reaper.sweep()
    assert store.jobs.folder(ended).exists(), "its child may still be writing"
    raw.hset(f"{store.settings.namespace}:record:{ended}", "finished_ms", "0")
    store.reaper.sweep()
    left = {path.name for path in (store.settings.data_dir / "jobs").iterdir()}
    assert left == {running, "job_of_another_record"}


def test_what_a_dead_maker_held_is_given_up(store: Store, raw: redis.Redis) -> None:
    with store.blobs.writer() as writer:
        writer.write(b"never recorded")
        blob = writer.commit()
    namespace = store.settings.namespace
    raw.sadd(f"{namespace}:blob:{blob.sha256}", "mdl_dead")
    raw.sadd(f"{namespace}:held:mdl_dead", blob.sha256)
    raw.zadd(f"{namespace}:holds:pending", {"mdl_dead": 0})
    store.reaper.sweep()
    assert not store.blobs.exists(blob.sha256)
    assert not raw.exists(f"{namespace}:blob:{blob.sha256}")


def test_old_temporary_files_go(store: Store) -> None:
    left = store.blobs.temporary()
    left.touch()
    os.utime(left, (0, 0))
    store.reaper.sweep()
    assert not left.exists()


def test_one_sweeps_at_a_time(store: Store, raw: redis.Redis, expire: Callable[[str], None]) -> None:
    store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    expire(claim.id)
    raw.set(f"{store.settings.namespace}:reaper", "somebody else", ex=5)
    store.reaper.sweep()
    assert store.jobs.get(claim.id).state == JobState.RUNNING
    raw.delete(f"{store.settings.namespace}:reaper")
    store.reaper.sweep()
    assert store.jobs.get(claim.id).state == JobState.QUEUED
    assert not raw.exists(f"{store.settings.namespace}:reaper")


def test_it_runs_until_it_is_stopped(store: Store, expire: Callable[[str], None]) -> None:
    store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    expire(claim.id)
    stop = threading.Event()
    thread = threading.Thread(target=store.reaper.run_forever, args=(stop, 0.01))
    thread.start()
    deadline = time.monotonic() + 5
    while store.jobs.get(claim.id).state != JobState.QUEUED and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert store.jobs.get(claim.id).state == JobState.QUEUED


def stored(store: Store, data: bytes, *, old: bool) -> str:
    with store.blobs.writer() as writer:
        writer.write(data)
        blob = writer.commit()
    if old:
        os.utime(store.blobs.path(blob.sha256), (0, 0))
    return blob.sha256


def test_old_bytes_that_no_record_knows_go(store: Store) -> None:
    known = store.uploads.data_path(upload(store, "model", b"known"))
    os.utime(known, (0, 0))
    old, new = stored(store, b"old", old=True), stored(store, b"new", old=False)
    store.reaper.sweep()
    assert known.exists()
    assert (store.blobs.exists(old), store.blobs.exists(new)) == (False, True)


def test_a_redis_that_lost_its_data_does_not_take_the_files_along(store: Store, raw: redis.Redis) -> None:
    kept = store.uploads.data_path(upload(store, "model", b"precious"))
    os.utime(kept, (0, 0))
    store.reaper.sweep()
    raw.delete(*raw.scan_iter(f"{store.settings.namespace}:*"))
    store.reaper.sweep()
    assert kept.exists()


DAMAGE: list[dict[str, str]] = [
    {"schema_version": "99"},
    {"spec": "{"},
    {"spec": "[" * 100_000},
    {"rounds": "many"},
    {"created_ms": "9" * 5000},
    {"created_ms": "99999999999999999999"},
    {"error": "7"},
    {"queue": "another"},
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_cannot_be_read_is_left_out_of_lists(
    store: Store, raw: redis.Redis, damage: dict[str, str]
) -> None:
    first, strange, last = (store.jobs.create(ready_spec(store))[0].id for _ in range(3))
    raw.hset(f"{store.settings.namespace}:record:{strange}", mapping=damage)
    assert [job.id for job in store.jobs.list().data if job.id != strange] == [last, first]
    page = store.jobs.list(limit=2)
    assert [job.id for job in store.jobs.list(page.next).data] == [first]
    if "queue" not in damage:
        assert strange not in {job.id for job in store.jobs.list().data}
        with pytest.raises(SecateurError, match=strange):
            store.jobs.get(strange)


def test_an_upload_that_cannot_be_read_is_left_out_of_lists(store: Store, raw: redis.Redis) -> None:
    good, strange = upload(store, "model", b"a"), upload(store, "model", b"b")
    raw.hdel(f"{store.settings.namespace}:record:{strange}", "sha256")
    assert [model.id for model in store.uploads.list("model").data] == [good]


def test_a_record_of_another_version_is_named_and_stops_nobody_else(store: Store, raw: redis.Redis) -> None:
    strange, job = (store.jobs.create(ready_spec(store))[0].id for _ in range(2))
    raw.hset(f"{store.settings.namespace}:record:{strange}", "schema_version", "99")
    for look in (store.jobs.get, lambda _: store.leases.claim_job("w", ["any"])):
        with pytest.raises(SecateurError, match=f"{strange} was written by another version"):
            look(strange)
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    assert claim.id == job
