from __future__ import annotations

import time

import redis

from store.store import Store
from store.wake import RUN_JOB, celery_app, celery_prefix
from tests.store.samples import ready_spec, upload


def test_a_consumer_hears_of_a_new_job(store: Store) -> None:
    job, _ = store.jobs.create(ready_spec(store).model_copy(update={"device": "cpu"}))
    app = celery_app(store.settings)
    with app.connection_for_read() as connection, connection.SimpleQueue("cpu") as queue:
        message = queue.get(timeout=5)
        assert message.headers["task"] == RUN_JOB
        assert message.payload[0] == [job.id]
        message.ack()
    app.close()
    assert not store.wake.called("cpu")


def test_namespaces_do_not_hear_each_other(store: Store, raw: redis.Redis) -> None:
    before = set(raw.scan_iter("*"))
    store.wake.job("job_x", "any")
    new = set(raw.scan_iter("*")) - before
    assert new
    assert all(key.startswith(celery_prefix(store.settings)) for key in new)


def test_an_upload_calls_once_and_nobody_waits_longer_than_asked(store: Store) -> None:
    model = upload(store, "model")
    assert store.wake.wait_for_upload(5) == model
    begun = time.monotonic()
    assert store.wake.wait_for_upload(0.05) is None
    assert time.monotonic() - begun < 2


def test_calls_that_nobody_hears_do_not_pile_up(store: Store, raw: redis.Redis) -> None:
    key = f"{store.settings.namespace}:wake:uploads"
    raw.rpush(key, *("mdl_old" for _ in range(2000)))
    store.wake.upload("mdl_new")
    assert raw.llen(key) <= 1000
    assert raw.lindex(key, 0) == "mdl_new"
