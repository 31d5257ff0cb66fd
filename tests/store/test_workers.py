from __future__ import annotations

import time

from store.store import Store
from tests.store.samples import worker


def test_only_live_workers_are_listed(store: Store) -> None:
    stays, goes, dies = worker("cpu", "any"), worker("cpu"), worker("cuda")
    store.workers.announce(stays)
    store.workers.announce(goes)
    store.workers.announce(dies, ttl_s=0.05)
    store.workers.withdraw(goes.id)
    time.sleep(0.1)
    assert store.workers.list() == (stays,)


def test_a_worker_may_announce_itself_again(store: Store) -> None:
    first = worker("cpu")
    later = first.model_copy(update={"job": "job_x"})
    store.workers.announce(first)
    store.workers.announce(later)
    assert store.workers.list() == (later,)
