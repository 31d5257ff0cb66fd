"""Redis dies, hangs, comes back: requests get an answer soon, and what was acknowledged is there afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secateur.errors import Unavailable
from secateur.redis_server import RedisServer
from secateur.states import JobState
from store.settings import StoreSettings
from store.store import Store
from tests.store.samples import inspect_all, ready_spec, spec, upload

SOON_S = 3.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def shop(server: RedisServer, tmp_path: Path) -> Iterator[Store]:
    store = Store.open(StoreSettings(redis_url=server.url, data_dir=tmp_path / "var"))
    yield store
    store.close()


def timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        call()
    return time.monotonic() - begun


def test_a_dead_redis_is_unavailable_at_once_and_what_was_acknowledged_survives(
    server: RedisServer, shop: Store
) -> None:
    wanted = ready_spec(shop)
    job, _ = shop.jobs.create(wanted)
    claim = shop.leases.claim_job("w", ["any"])
    assert claim is not None
    claim.save_checkpoint("jobs/x", "0" * 64, {"round": 2})
    server.kill()
    for call in (
        shop.ping,
        lambda: shop.jobs.get(job.id),
        lambda: shop.jobs.create(wanted),
        lambda: upload(shop, "model"),
        lambda: shop.events.page(job.id),
        shop.workers.list,
        claim.renew,
        shop.reaper.sweep,
        lambda: shop.wake.wait_for_upload(1),
    ):
        assert timed(call) < SOON_S
    shop.wake.job(job.id, "any")
    shop.wake.upload("mdl_x")
    server.start()
    claim.progress(0.5)
    assert shop.jobs.get(job.id).state == JobState.RUNNING
    claim.release()
    again = shop.leases.claim_job("w", ["any"])
    assert again is not None
    assert again.fence > claim.fence
    assert again.checkpoint == ("jobs/x", "0" * 64, {"round": 2})


def test_bytes_that_were_stored_while_redis_died_go_in_the_end(server: RedisServer, shop: Store) -> None:
    with shop.blobs.writer() as writer:
        writer.write(b"whole")
        blob = writer.commit()
    server.kill()
    with pytest.raises(Unavailable):
        shop.uploads.create("model", "name", blob)
    assert shop.blobs.exists(blob.sha256)
    os.utime(shop.blobs.path(blob.sha256), (0, 0))
    server.start()
    shop.reaper.sweep()
    assert not shop.blobs.exists(blob.sha256)


def test_a_hanging_redis_is_unavailable_soon(server: RedisServer, shop: Store) -> None:
    model = upload(shop, "model")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert timed(lambda: shop.uploads.get(model)) < SOON_S
        begun = time.monotonic()
        shop.wake.job("job_x", "any")
        assert time.monotonic() - begun < 2 * SOON_S
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert shop.uploads.get(model).id == model


def test_a_full_redis_is_unavailable_and_nothing_half_is_recorded(server: RedisServer, shop: Store) -> None:
    model, train = upload(shop, "model"), upload(shop, "dataset")
    inspect_all(shop)
    shop._connection.config_set("maxmemory", "1")
    with pytest.raises(Unavailable):
        shop.jobs.create(spec(model, train))
    with pytest.raises(Unavailable):
        upload(shop, "model", b"other")
    assert shop.jobs.list().data == ()
    assert len(shop.uploads.list("model").data) == 1
    shop._connection.config_set("maxmemory", "0")
    assert shop.jobs.create(spec(model, train))[1]


def test_a_wrong_password_is_unavailable(server: RedisServer, tmp_path: Path) -> None:
    settings = StoreSettings(
        redis_url=f"redis://127.0.0.1:{server.port}/0", redis_password="wrong", data_dir=tmp_path / "v"
    )
    store = Store.open(settings)
    with pytest.raises(Unavailable):
        store.ping()
    store.close()
