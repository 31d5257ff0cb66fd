from __future__ import annotations

import hashlib
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from secateur import ApiError, Client
from secateur.download import download
from secateur.errors import DigestMismatch, Diverged, NotFound, SecateurError
from secateur.events import payloads
from secateur.resources import Artifact, Event
from secateur.states import JobState, UploadState

DATA = bytes(range(256)) * 4000


@pytest.fixture
def finished(door: Any, job_id: str) -> str:
    """A job that succeeded and handed over one file."""
    door.succeed(door.claim(), {"model.pt2": DATA})
    return job_id


def recorded(door: Any, job_id: str) -> tuple[Event, ...]:
    """All events of a job, from the record itself."""
    events: tuple[Event, ...] = door.store.events.page(job_id, None, 200).data
    return events


def busy(door: Any, job_id: str) -> None:
    """A job with many events, and its end."""
    claim = door.claim()
    assert claim.id == job_id
    for number in range(40):
        claim.event("metric", {"number": number, "padding": "\u2028x" * 20})
    door.succeed(claim, {})


# Uploads


def test_an_upload_arrives_whole_and_its_progress_is_told(client: Client, tmp_path: Path) -> None:
    path, seen = tmp_path / "model.pt2", []
    path.write_bytes(DATA * 4)
    client.on_bytes = lambda path, sent, total: seen.append((path.name, sent, total))
    model = client.upload_model(path)
    assert (model.state, model.name, model.size_bytes) == (UploadState.INSPECTING, "model.pt2", len(DATA) * 4)
    assert model.sha256 == hashlib.sha256(DATA * 4).hexdigest()
    assert seen[-1] == ("model.pt2", len(DATA) * 4, len(DATA) * 4)
    assert [sent for _, sent, _ in seen] == sorted({sent for _, sent, _ in seen})


def test_an_upload_whose_answer_is_lost_is_made_once(door: Any, wire: Any, shaky: Client, files: Any) -> None:
    wire.budgets = iter([0, 20])
    model = shaky.upload_model(files[0])
    assert wire.connections == 3
    assert [each.id for each in door.store.uploads.list("model", None, 10).data] == [model.id]


def test_a_missing_file_is_told_without_a_request(shaky: Client, wire: Any, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"no file .*model\.pt2"):
        shaky.upload_model(tmp_path / "model.pt2")
    assert wire.connections == 0


# Jobs


def test_a_job_whose_answer_is_lost_is_made_once(door: Any, wire: Any, shaky: Client, files: Any) -> None:
    spec = shaky.prepare(files[0], train=files[1], spec=door.spec)
    shaky.close()
    with Client(wire.url) as again:
        wire.budgets = iter([0])
        job = again.submit(spec)
        assert [each.id for each in again.jobs()] == [job.id]


def test_equal_files_are_uploaded_once_and_ids_not_at_all(client: Client, door: Any, files: Any) -> None:
    model, data = files
    first = client.prepare(model, train=data, test=data, validation=0.2, spec=door.spec)
    assert first["data"]["train"] == first["data"]["test"]
    assert first["data"]["validation"] == 0.2
    second = client.prepare(first["model"], train=first["data"]["train"], spec=door.spec)
    assert (second["model"], second["data"]) == (first["model"], {"train": first["data"]["train"]})
    assert len(door.store.uploads.list("dataset", None, 10).data) == 1


def test_a_refused_spec_names_every_problem(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit({"model": "mdl_x", "prune": {"target": {"kind": "sparsity", "amount": 1.5}}})
    assert (caught.value.code, caught.value.status) == ("invalid_spec", 422)
    assert {"/model", "/data", "/recover"} <= {problem["pointer"] for problem in caught.value.errors}


def test_validate_says_what_would_be_done(client: Client, door: Any, files: Any) -> None:
    spec = client.prepare(files[0], train=files[1], spec=door.spec)
    assert client.validate(spec).pending
    door.inspect()
    assert client.validate(spec).valid


def test_jobs_reads_every_page(client: Client, door: Any, job_id: str) -> None:
    spec = client.job(job_id).spec
    ids = {job_id} | {client.submit(spec).id for _ in range(60)}
    listed = [job.id for job in client.jobs()]
    assert len(listed) == len(ids)
    assert set(listed) == ids


def test_unknown_ids(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.job("job_" + "0" * 26)
    assert (caught.value.code, caught.value.status) == ("not_found", 404)
    with pytest.raises(NotFound, match="no id"):
        client.delete("x")


def test_deleting(client: Client, finished: str) -> None:
    client.delete(finished)
    with pytest.raises(ApiError) as caught:
        client.report(finished)
    assert caught.value.code == "not_found"


def test_a_failed_job_is_an_error_with_its_own_code(client: Client, door: Any, job_id: str) -> None:
    door.claim().fail(Diverged(remedy="Halve the learning rate."))
    with pytest.raises(ApiError) as caught:
        client.result(job_id)
    assert (caught.value.code, caught.value.remedy) == ("diverged", "Halve the learning rate.")


def test_cancelling(client: Client, job_id: str) -> None:
    assert client.cancel(job_id).state == JobState.CANCELLED
    with pytest.raises(ApiError) as caught:
        client.result(job_id)
    assert caught.value.code == "cancelled"
    assert client.wait(client.job(job_id)).state == JobState.CANCELLED


def test_waiting_has_an_end(client: Client, job_id: str) -> None:
    with pytest.raises(TimeoutError, match="queued"):
        client.wait(client.job(job_id), timeout_s=0)


def test_compress_goes_all_the_way(client: Client, door: Any, files: Any, tmp_path: Path) -> None:
    door.in_background(lambda: door.succeed(door.claim(), {"model.pt2": DATA}))
    seen: list[Event] = []
    result = client.compress(files[0], train=files[1], spec=door.spec, on_event=seen.append)
    assert result.report.metric.recovered == 0.968
    assert seen == list(recorded(door, result.job.id))
    assert result.fetch(tmp_path / "out")["model.pt2"].read_bytes() == DATA


# Watching


def test_watching_over_a_wire_that_breaks_has_no_gap_and_no_double(
    door: Any, wire: Any, shaky: Client, job_id: str
) -> None:
    busy(door, job_id)
    wire.budgets = repeat(4000)
    assert list(shaky.watch(job_id)) == list(recorded(door, job_id))
    assert wire.connections > 3


def test_where_no_stream_comes_through_events_are_read_as_pages(
    door: Any, wire: Any, shaky: Client, job_id: str
) -> None:
    busy(door, job_id)
    wire.cuts_streams = True
    assert list(shaky.watch(job_id)) == list(recorded(door, job_id))


def test_watching_goes_on_after_an_event(client: Client, door: Any, job_id: str) -> None:
    busy(door, job_id)
    events = recorded(door, job_id)
    assert list(client.watch(job_id, after=events[10].id)) == list(events[11:])


def test_watching_a_job_that_is_long_over_ends(client: Client, door: Any, finished: str) -> None:
    last = recorded(door, finished)[-1]
    assert list(client.watch(finished, after=last.id)) == []


def test_watching_nothing_is_an_error(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        list(client.watch("job_" + "0" * 26))
    assert caught.value.status == 404


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(size: int) -> None:
    wire = (
        b': hello\r\nretry: 5\n\nid: 1-0\ndata: {"a":\ndata: 1}\n\nevent: x\n\ndata:\xe2\x80\xa8\r\n\r\ndata: cut off'
    )
    chunks = [wire[start : start + size] for start in range(0, len(wire), size)]
    assert list(payloads(chunks)) == [b'{"a":\n1}', b"\xe2\x80\xa8"]


# Downloads


def test_a_download_goes_on_where_it_broke_off(
    door: Any, wire: Any, shaky: Client, finished: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pt2.part").write_bytes(DATA[:-1000])
    paths = shaky.fetch(finished, tmp_path)
    assert paths["model.pt2"].read_bytes() == DATA
    assert wire.passed_bytes < len(DATA) / 2
    assert not (tmp_path / "model.pt2.part").exists()


def test_a_download_survives_cuts(wire: Any, shaky: Client, finished: str, tmp_path: Path) -> None:
    wire.budgets = iter([300_000, 300_000])
    assert shaky.fetch(finished, tmp_path)["model.pt2"].read_bytes() == DATA
    assert wire.connections == 3


@pytest.mark.parametrize("left_behind", [b"x" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 1)])
def test_a_bad_beginning_is_thrown_away(client: Client, finished: str, tmp_path: Path, left_behind: bytes) -> None:
    (tmp_path / "model.pt2.part").write_bytes(left_behind)
    assert client.fetch(finished, tmp_path)["model.pt2"].read_bytes() == DATA


def test_what_is_there_is_not_loaded_again(wire: Any, shaky: Client, finished: str, tmp_path: Path) -> None:
    shaky.fetch(finished, tmp_path)
    before = wire.passed_bytes
    shaky.fetch(finished, tmp_path)
    assert wire.passed_bytes - before < 10_000


def test_a_wrong_digest_leaves_nothing(door: Any, client: Client, finished: str, tmp_path: Path) -> None:
    blob = door.store.blobs.path(client.artifacts(finished)[0].sha256)
    blob.chmod(0o600)
    blob.write_bytes(DATA[::-1])
    with pytest.raises(DigestMismatch, match=r"model\.pt2"):
        client.fetch(finished, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_only_what_is_there_can_be_fetched(client: Client, finished: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no artifact 'x'; it has model\.pt2"):
        client.fetch(finished, tmp_path, ["x"])


@pytest.mark.parametrize("name", ["../model.pt2", "/etc/passwd", "..", ""])
def test_a_server_cannot_write_outside_the_folder(client: Client, tmp_path: Path, name: str) -> None:
    with pytest.raises(SecateurError, match="plain file name"):
        download(client.transport, "/x", Artifact(name=name, size_bytes=1, sha256="0" * 64), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The way there


def test_nobody_there() -> None:
    with pytest.raises(ApiError) as caught:
        list(Client("http://127.0.0.1:9").jobs())
    assert (caught.value.code, caught.value.status) == ("unreachable", None)
    assert "secateur up" in str(caught.value.remedy)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nonsense"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ApiError, match="no address of a server") as caught:
        Client(url)
    assert caught.value.code == "bad_url"


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", "\x00"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ApiError) as caught:
        Client(api_key=key)
    assert (caught.value.code, key in str(caught.value)) == ("bad_key", False)


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Client(door.url) as client:
        assert list(client.jobs()) == []
