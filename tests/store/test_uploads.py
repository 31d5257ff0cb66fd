from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secateur.errors import FenceLost, IdempotencyMismatch, InUse, NotFound, Unavailable
from store.blobs import Blob
from store.idempotency import IdempotencyKey
from store.store import Store
from tests.store.samples import DATASET, inspect_all, spec, upload


def blob_of(store: Store, data: bytes) -> Blob:
    with store.blobs.writer() as writer:
        writer.write(data)
        return writer.commit()


def test_a_new_upload_waits_for_its_inspection(store: Store) -> None:
    blob = blob_of(store, b"a model")
    record, new = store.uploads.create("model", "résumé \0 😀", blob)
    assert new
    assert record.id.startswith("mdl_")
    assert (record.name, record.state, record.sha256, record.size_bytes) == ("résumé \0 😀", "inspecting", *blob)
    assert store.uploads.get(record.id) == record
    assert store.uploads.data_path(record.id).read_bytes() == b"a model"


def test_pages_go_from_new_to_old_and_hold_everything_once(store: Store) -> None:
    made = {upload(store, "model") for _ in range(5)}
    upload(store, "dataset")
    seen: list[str] = []
    after = None
    while True:
        page = store.uploads.list("model", after=after, limit=2)
        seen += [record.id for record in page.data]
        assert len(page.data) <= 2
        if (after := page.next) is None:
            break
    assert seen == sorted(made, reverse=True)


def test_the_last_of_equal_uploads_takes_the_bytes_along(store: Store) -> None:
    first, second = upload(store, "model", b"same"), upload(store, "dataset", b"same")
    path = store.uploads.data_path(first)
    store.uploads.delete(first)
    assert path.exists()
    store.uploads.delete(second)
    assert not path.exists()
    with pytest.raises(NotFound):
        store.uploads.get(first)
    assert store.leases.claim_upload("w") is None


def test_what_the_inspection_rewrote_is_read_and_deleted_with_the_upload(store: Store) -> None:
    upload_id = upload(store, "dataset", b"npz")
    claim = store.leases.claim_upload("w")
    assert claim is not None
    claim.ready(DATASET, blob_of(store, b"rewritten"))
    assert store.uploads.data_path(upload_id).read_bytes() == b"rewritten"
    store.uploads.delete(upload_id)
    assert not [path for path in (store.settings.data_dir / "blobs").rglob("*") if path.is_file()]


def test_an_upload_that_a_job_needs_stays(store: Store) -> None:
    model, train = upload(store, "model"), upload(store, "dataset")
    job, _ = store.jobs.create(spec(model, train))
    for upload_id in (model, train):
        with pytest.raises(InUse, match=job.id):
            store.uploads.delete(upload_id)
    store.jobs.cancel(job.id)
    store.uploads.delete(model)
    store.uploads.delete(train)


def test_an_inspection_of_a_deleted_upload_counts_for_nothing(store: Store) -> None:
    upload_id = upload(store, "dataset")
    claim = store.leases.claim_upload("w")
    assert claim is not None
    store.uploads.delete(upload_id)
    with pytest.raises(FenceLost):
        claim.ready(DATASET, blob_of(store, b"rewritten"))
    with pytest.raises(NotFound):
        store.uploads.get(upload_id)


NOBODYS = f"{0:026}"


@pytest.mark.parametrize("upload_id", [f"mdl_{NOBODYS}", f"dst_{NOBODYS}", f"job_{NOBODYS}", "", "mdl_*", "../x"])
def test_unknown_ids(store: Store, upload_id: str) -> None:
    for method in (store.uploads.get, store.uploads.delete, store.uploads.data_path):
        with pytest.raises(NotFound):
            method(upload_id)


def test_a_job_is_no_upload(store: Store) -> None:
    job, _ = store.jobs.create(spec(upload(store, "model"), upload(store, "dataset")))
    store.jobs.cancel(job.id)
    with pytest.raises(NotFound):
        store.uploads.delete(job.id)
    assert store.jobs.get(job.id).id == job.id


def test_a_key_makes_one_upload_even_at_the_same_time(store: Store) -> None:
    blob = blob_of(store, b"once")
    key = IdempotencyKey("key", "fingerprint")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.uploads.create("model", "n", blob, key), range(8)))
    assert len({record.id for record, _ in made}) == 1
    assert sum(new for _, new in made) == 1
    assert len(store.uploads.list("model").data) == 1
    store.uploads.delete(made[0][0].id)
    assert not store.blobs.exists(blob.sha256), "replays must not keep holding the bytes"


def test_a_key_with_another_request_is_refused_and_leaves_nothing(store: Store) -> None:
    first = blob_of(store, b"first")
    store.uploads.create("model", "n", first, IdempotencyKey("key", "one"))
    other = blob_of(store, b"other")
    with pytest.raises(IdempotencyMismatch):
        store.uploads.create("model", "n", other, IdempotencyKey("key", "two"))
    assert store.blobs.exists(first.sha256)
    assert not store.blobs.exists(other.sha256)
    assert len(store.uploads.list("model").data) == 1


def test_a_key_of_a_deleted_upload_makes_a_new_one(store: Store) -> None:
    key = IdempotencyKey("key", "one")
    first, _ = store.uploads.create("model", "n", blob_of(store, b"x"), key)
    store.uploads.delete(first.id)
    second, new = store.uploads.create("model", "n", blob_of(store, b"x"), key)
    assert new
    assert second.id != first.id


def test_bytes_that_went_away_before_they_were_recorded(store: Store) -> None:
    blob = blob_of(store, b"gone")
    store.blobs.remove(blob.sha256)
    with pytest.raises(Unavailable, match="Send them again"):
        store.uploads.create("model", "n", blob)
    assert store.uploads.list("model").data == ()


def test_equal_bytes_made_and_deleted_at_the_same_time_are_never_missing(store: Store) -> None:
    def make_and_delete(_: int) -> None:
        for _ in range(10):
            try:
                record, _ = store.uploads.create("model", "n", blob_of(store, b"shared"))
            except Unavailable:
                continue
            assert store.uploads.data_path(record.id).read_bytes() == b"shared"
            store.uploads.delete(record.id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make_and_delete, range(4)))
    assert not [path for path in store.settings.data_dir.rglob("*") if path.is_file()]


def test_inspected_uploads_say_what_they_are(store: Store) -> None:
    upload_id = upload(store, "dataset")
    inspect_all(store)
    record = store.uploads.get(upload_id)
    assert (record.state, record.inspection) == ("ready", DATASET)


def test_no_temporary_file_is_left(store: Store) -> None:
    upload(store, "model")
    assert list(Path(store.settings.data_dir / "tmp").iterdir()) == []
