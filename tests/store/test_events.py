from __future__ import annotations

import pytest

from secateur.errors import BadRequest, NotFound
from secateur.ids import new_id
from secateur.states import Stage
from store.settings import StoreSettings
from store.store import Store
from tests.store.samples import ready_spec


def test_pages_of_events_have_no_gap_and_no_double(store: Store) -> None:
    job, _ = store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    for round in range(7):
        claim.stage(Stage.PRUNE, round)
    seen, after = [], None
    while True:
        page = store.events.page(job.id, after, 2)
        seen += page.data
        if page.next is None:
            break
        after = page.next
    assert seen == list(store.events.page(job.id).data)
    assert [event.type for event in seen] == ["state", "state"] + ["stage"] * 7
    assert [event.data["round"] for event in seen[2:]] == list(range(7))
    assert all(event.at.tzinfo for event in seen)
    assert store.events.page(job.id, seen[-1].id).data == ()


@pytest.mark.parametrize("after", ["", "x", "1", "-", "$", "(1-1", "1-1\n", "99999999999999999999-0", "\uff11-\uff11"])
def test_hostile_cursors(store: Store, after: str) -> None:
    job, _ = store.jobs.create(ready_spec(store))
    with pytest.raises(BadRequest):
        store.events.page(job.id, after)


def test_unknown_jobs(store: Store) -> None:
    with pytest.raises(NotFound):
        store.events.page(new_id("job"))


def test_about_the_newest_are_kept(store_settings: StoreSettings) -> None:
    store = Store.open(store_settings.model_copy(update={"events_kept": 100}))
    job, _ = store.jobs.create(ready_spec(store))
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    for number in range(300):
        claim.event("note", {"number": number})
    kept = store.events.page(job.id, limit=1000).data
    assert 100 <= len(kept) < 220
    assert [event.data["number"] for event in kept[-100:]] == list(range(200, 300))
    store.close()
