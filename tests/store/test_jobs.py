from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from secateur import fit
from secateur.errors import DataMismatch, IdempotencyMismatch, InUse, LabelsOutOfRange, NotFound, WrongState
from secateur.ids import new_id
from secateur.resources import Artifact
from secateur.spec import JobSpec
from secateur.states import JobState
from store.idempotency import IdempotencyKey
from store.store import Store
from tests.store.samples import DATASET, MODEL, inspect_all, ready_spec, report, spec, upload, worker


def test_a_job_whose_uploads_are_ready_is_queued(store: Store) -> None:
    wanted = ready_spec(store, metadata={"who": "ünï 😀"})
    job, new = store.jobs.create(wanted)
    assert new
    assert (job.state, job.spec, job.rounds, job.attempts) == (JobState.QUEUED, wanted, 5, 0)
    assert job.queue_position == 0
    assert store.jobs.get(job.id) == job


def test_a_job_waits_for_every_inspection(store: Store) -> None:
    job, _ = store.jobs.create(spec(upload(store, "model"), upload(store, "dataset")))
    assert (job.waiting_for, job.queue_position) == ("inspection", None)
    for noun, inspection in (("model", MODEL), ("dataset", DATASET)):
        assert store.leases.claim_job("w", ["any"]) is None
        claim = store.leases.claim_upload("w")
        assert claim is not None
        assert claim.noun == noun
        claim.ready(inspection)
        store.jobs.admit(claim.id)
    assert store.jobs.get(job.id).queue_position == 0
    assert store.leases.claim_job("w", ["any"]) is not None


def test_a_job_waits_for_the_initialisation_that_it_names_and_holds_it(store: Store) -> None:
    initial = upload(store, "model", b"initial")
    ticket = {"kind": "lottery_ticket", "learning_rate": 0.1, "initial": initial}
    job, _ = store.jobs.create(ready_spec(store, recover=ticket))
    assert store.jobs.get(job.id).queue_position == 0
    with pytest.raises(InUse):
        store.uploads.delete(initial)
    late = upload(store, "model", b"late")
    parked, _ = store.jobs.create(spec(job.spec.model, job.spec.data.train, recover={**ticket, "initial": late}))
    assert parked.waiting_for == "inspection"


def test_a_parked_job_fails_with_its_upload(store: Store) -> None:
    job, _ = store.jobs.create(spec(upload(store, "model"), upload(store, "dataset")))
    claim = store.leases.claim_upload("w")
    assert claim is not None
    claim.reject({"code": "pickled_module", "message": "a pickle"})
    store.jobs.admit(claim.id)
    failed = store.jobs.get(job.id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert "pickled_module" in failed.error.message
    assert failed.finished_at is not None
    store.uploads.delete(claim.id)


def test_a_parked_job_that_cannot_be_judged_fails_and_holds_up_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(upload(store, "model"), upload(store, "dataset"))
    stumbles, _ = store.jobs.create(wanted.model_copy(update={"seed": 1}))
    goes_on, _ = store.jobs.create(wanted)
    judge = fit.require_fit

    def require_fit(spec: JobSpec, *inspected: Any) -> None:
        if spec.seed == 1:
            raise KeyError("a mistake of ours")
        judge(spec, *inspected)

    monkeypatch.setattr(fit, "require_fit", require_fit)
    inspect_all(store)
    failed = store.jobs.get(stumbles.id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "internal"
    assert store.jobs.get(goes_on.id).queue_position == 0


def test_a_parked_job_that_does_not_fit_fails_with_every_reason(store: Store) -> None:
    wanted = spec(upload(store, "model"), upload(store, "dataset"), data={"train": new_id("dst"), "target": "nowhere"})
    wanted = wanted.model_copy(update={"data": wanted.data.model_copy(update={"train": upload(store, "dataset")})})
    job, _ = store.jobs.create(wanted)
    inspect_all(store)
    failed = store.jobs.get(job.id)
    assert failed.error is not None
    assert failed.state == JobState.FAILED
    assert failed.error.code == "data_mismatch"
    assert "nowhere" in failed.error.message


def test_what_does_not_fit_is_refused_at_once_and_nothing_is_recorded(store: Store) -> None:
    good = ready_spec(store)
    data = {"train": good.data.train, "target": "nowhere"}
    with pytest.raises(DataMismatch) as refused:
        store.jobs.create(spec(good.model, good.data.train, data=data), IdempotencyKey("k", "f"))
    (problem,) = refused.value.context["errors"]
    assert problem["pointer"] == "/data/train"
    assert store.jobs.list().data == ()
    assert store.jobs.create(good, IdempotencyKey("k", "g"))[1], "a refused request must not use up its key"


def test_uploads_that_are_missing_or_rejected(store: Store) -> None:
    model, train = upload(store, "model"), upload(store, "dataset")
    with pytest.raises(NotFound):
        store.jobs.create(spec(new_id("mdl"), train))
    claim = store.leases.claim_upload("w")
    assert claim is not None
    claim.reject(LabelsOutOfRange())
    with pytest.raises(WrongState, match="labels_out_of_range"):
        store.jobs.create(spec(model, train))


def test_the_dry_run_says_everything_and_queues_nothing(store: Store) -> None:
    good = ready_spec(store)
    found = store.jobs.validate(good)
    assert found.valid
    assert found.forecast is not None
    assert found.forecast.zeros == 20
    missing = store.jobs.validate(spec(new_id("mdl"), new_id("dst")))
    assert [problem.pointer for problem in missing.problems] == ["/model", "/data/train"]
    pending = upload(store, "dataset")
    waiting = store.jobs.validate(spec(good.model, pending))
    assert (waiting.valid, waiting.pending, waiting.forecast) == (True, (pending,), None)
    assert store.jobs.list().data == ()


def test_a_key_makes_one_job_even_at_the_same_time(store: Store) -> None:
    wanted, key = ready_spec(store), IdempotencyKey("key", "f")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: store.jobs.create(wanted, key), range(8)))
    assert len({job.id for job, _ in made}) == 1
    assert sum(new for _, new in made) == 1
    with pytest.raises(IdempotencyMismatch):
        store.jobs.create(wanted, IdempotencyKey("key", "g"))
    assert len(store.jobs.list().data) == 1


def test_a_replay_answers_even_when_the_uploads_are_gone(store: Store) -> None:
    wanted, key = ready_spec(store), IdempotencyKey("key", "f")
    job, _ = store.jobs.create(wanted, key)
    store.jobs.cancel(job.id)
    store.uploads.delete(wanted.model)
    again, new = store.jobs.create(wanted, key)
    assert (again.id, new) == (job.id, False)


def test_priority_goes_before_age_and_positions_say_so(store: Store) -> None:
    base = ready_spec(store)
    wanted = [("any", 0), ("cpu", 5), ("cuda", -100), ("any", 100), ("cpu", 0), ("any", 0)]
    devices = {"any": "auto", "cpu": "cpu", "cuda": "cuda"}
    jobs = [
        store.jobs.create(base.model_copy(update={"device": devices[queue], "priority": priority}))[0]
        for queue, priority in wanted
    ]
    position = {job.id: store.jobs.get(job.id).queue_position for job in jobs}
    assert [position[job.id] for job in jobs] == [2, 1, 3, 0, 3, 4]
    order = []
    while claim := store.leases.claim_job("w", ["cpu", "any"]):
        order.append(claim.id)
    assert order == [jobs[at].id for at in (3, 1, 0, 4, 5)]
    assert store.jobs.get(jobs[2].id).state == JobState.QUEUED


def test_a_job_that_no_live_worker_can_take_says_so(store: Store) -> None:
    base = ready_spec(store)
    auto = store.jobs.create(base)[0].id
    cuda = store.jobs.create(base.model_copy(update={"device": "cuda"}))[0].id
    assert [store.jobs.get(job_id).waiting_for for job_id in (auto, cuda)] == ["a worker", "a cuda worker"]
    alive = worker("cpu", "any")
    store.workers.announce(alive)
    assert [store.jobs.get(job_id).waiting_for for job_id in (auto, cuda)] == [None, "a cuda worker"]
    store.workers.withdraw(alive.id)
    assert store.jobs.get(auto).waiting_for == "a worker"


def test_cancelling(store: Store) -> None:
    wanted = ready_spec(store)
    queued = store.jobs.create(wanted)[0]
    assert store.jobs.cancel(queued.id).state == JobState.CANCELLED
    with pytest.raises(WrongState):
        store.jobs.cancel(queued.id)
    assert store.leases.claim_job("w", ["any"]) is None
    running = store.jobs.create(wanted)[0]
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    asked = store.jobs.cancel(running.id)
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert store.jobs.cancel(running.id) == asked.model_copy(update={"last_heartbeat_at": asked.last_heartbeat_at})
    with pytest.raises(NotFound):
        store.jobs.cancel(new_id("job"))


def test_a_parked_job_can_be_cancelled_and_stays_so(store: Store) -> None:
    job, _ = store.jobs.create(spec(upload(store, "model"), upload(store, "dataset")))
    store.jobs.cancel(job.id)
    inspect_all(store)
    assert store.jobs.get(job.id).state == JobState.CANCELLED
    assert store.leases.claim_job("w", ["any"]) is None


def test_report_and_artifacts_belong_to_success_and_go_with_the_job(store: Store) -> None:
    wanted = ready_spec(store)
    job, _ = store.jobs.create(wanted)
    with pytest.raises(WrongState):
        store.jobs.report(job.id)
    with pytest.raises(WrongState):
        store.jobs.delete(job.id)
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    with store.blobs.writer() as writer:
        writer.write(b"pruned")
        blob = writer.commit()
    artifact = Artifact(name="model.pt2", size_bytes=blob.size_bytes, sha256=blob.sha256)
    written = report(wanted)
    claim.succeed(written, [artifact])
    done = store.jobs.get(job.id)
    assert (done.state, done.artifacts, done.progress, done.worker) == (JobState.SUCCEEDED, (artifact,), 1.0, None)
    assert store.jobs.report(job.id) == written
    assert store.jobs.artifact(job.id, "model.pt2") == artifact
    with pytest.raises(NotFound, match=r"model\.pt2"):
        store.jobs.artifact(job.id, "other")
    store.jobs.delete(job.id)
    assert not store.blobs.exists(blob.sha256)
    for method in (store.jobs.get, store.jobs.report, store.jobs.delete, store.events.page):
        with pytest.raises(NotFound):
            method(job.id)
    assert store.jobs.list().data == ()


def test_pages_of_one_state(store: Store) -> None:
    wanted = ready_spec(store)
    jobs = [store.jobs.create(wanted)[0].id for _ in range(3)]
    store.jobs.cancel(jobs[1])
    assert [job.id for job in store.jobs.list(state=JobState.QUEUED).data] == [jobs[2], jobs[0]]
    assert [job.id for job in store.jobs.list(state=JobState.CANCELLED).data] == [jobs[1]]
    page = store.jobs.list(limit=2)
    assert ([job.id for job in page.data], page.next) == ([jobs[2], jobs[1]], jobs[1])
    assert [job.id for job in store.jobs.list(after=page.next, limit=2).data] == [jobs[0]]


def test_a_finished_job_lets_go_of_its_uploads(store: Store) -> None:
    wanted = ready_spec(store)
    store.jobs.create(wanted)
    claim = store.leases.claim_job("w", ["any"])
    assert claim is not None
    claim.fail({"code": "diverged", "message": "nan", "loss": float("nan"), "shape": []})
    error = store.jobs.get(claim.id).error
    assert error is not None
    assert error.model_dump() == {"code": "diverged", "message": "nan", "remedy": None, "loss": None, "shape": []}
    assert store.events.page(claim.id).data[-1].data["error"]["shape"] == []
    store.uploads.delete(wanted.model)


def test_an_inspection_that_ends_while_a_job_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = spec(upload(store, "model"), upload(store, "dataset"))
    after_judging(store, monkeypatch, lambda: inspect_all(store))
    job, _ = store.jobs.create(wanted)
    assert job.queue_position == 0, "nobody would ever admit a job that is parked after the inspection"


def test_an_upload_that_is_deleted_while_a_job_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ready_spec(store)
    after_judging(store, monkeypatch, lambda: store.uploads.delete(wanted.model))
    with pytest.raises(NotFound):
        store.jobs.create(wanted)
    assert store.jobs.list().data == ()


def after_judging(store: Store, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    judge = store.jobs._judge
    require = judge.require

    def judged(about: JobSpec) -> dict[str, str]:
        seen = require(about)
        act()
        return seen

    monkeypatch.setattr(judge, "require", judged)
