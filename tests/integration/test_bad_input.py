"""Whatever comes in, the service says what is wrong with it, runs none of it, keeps none of it, and goes on."""

from __future__ import annotations

import io
import json
import re
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from secateur import errors
from secateur.errors import BadModel
from secateur.ids import new_id
from secateur.resources import Dataset, Job, Model
from tests.integration.deployment import Deployment, until
from tests.worker.program.attacks import (
    ATTACKS,
    MODEL,
    WEIGHTS,
    Attack,
    Change,
    Victim,
    bare_pickle,
    clean,
    edited,
    rewrite,
    saved_pickle,
)

pytestmark = pytest.mark.integration

WITHIN_S = 30


@dataclass(frozen=True)
class Service:
    """A deployment that all tests of this file share, and what was started with it."""

    deployment: Deployment
    http: httpx.Client
    processes: tuple[psutil.Process, ...]

    def model(self, path: Path) -> Model:
        """The model as its inspection left it."""
        return self.deployment.client.wait(self.deployment.client.upload_model(path), WITHIN_S)

    def dataset(self, path: Path) -> Dataset:
        """The data set as its inspection left it."""
        return self.deployment.client.wait(self.deployment.client.upload_dataset(path), WITHIN_S)

    def run(self, spec: Mapping[str, Any]) -> Job:
        """The job once it has ended."""
        return self.deployment.wait(self.deployment.client.submit(spec).id, WITHIN_S)

    def stored(self) -> set[Path]:
        """What lies in the data folder: blobs and what is on its way to be one, what attempts and inspections made."""
        data = self.deployment.folder / "data"
        kept = {path for folder in ("blobs", "tmp", "jobs") for path in (data / folder).rglob("*") if path.is_file()}
        return kept.union(data.glob("inspections/*"), data.glob("jobs/*/attempts/*"))

    def forget(self) -> None:
        """Delete every record."""
        for noun in ("jobs", "models", "datasets"):
            for record in self.http.get(f"/v1/{noun}?limit=200").json()["data"]:
                assert self.http.delete(f"/v1/{noun}/{record['id']}").status_code == 204


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Deployment(tmp_path_factory.mktemp("stack")) as deployment, httpx.Client(base_url=deployment.url) as http:
        until(lambda: len(deployment.descendants(deployment.workers[0])) == 1, WITHIN_S, "the zygote")
        assert deployment.api is not None
        started = [deployment.api.pid, *(worker.pid for worker in deployment.workers)]
        zygotes = [process for worker in deployment.workers for process in deployment.descendants(worker)]
        yield Service(deployment, http, (*map(psutil.Process, started), *zygotes))


@pytest.fixture(autouse=True)
def nothing_left(service: Service) -> Iterator[None]:
    """After every test: all processes live, and deleting the records leaves no file and no working folder."""
    before = service.stored()
    yield
    assert all(process.is_running() for process in service.processes)
    service.forget()
    until(lambda: service.stored() == before, 5, f"no more than {before} to be stored")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """(batch, 3) to (batch, 2)."""
    return clean(tmp_path_factory.mktemp("good") / "good.pt2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return examples(tmp_path / "data.safetensors")


def examples(path: Path, **changes: torch.Tensor | None) -> Path:
    """Forty examples for `good`, with arrays exchanged, added, or (None) left out."""
    generator = torch.Generator().manual_seed(0)
    arrays = {"x": torch.randn(40, 3, generator=generator), "target": torch.arange(40) % 2} | changes
    save_file({name: array for name, array in arrays.items() if array is not None}, path)
    return path


def spec(model: str, train: str, **changes: Any) -> dict[str, Any]:
    """The smallest job: one round, one epoch."""
    return {
        "model": model,
        "data": {"train": train},
        "prune": {"target": {"kind": "sparsity", "amount": 0.5}, "schedule": {"kind": "one_shot"}},
        "recover": {"kind": "fine_tune", "learning_rate": 0.01, "epochs": 1, "batch_size": 8},
        "finalize": {"latency": None},
    } | changes


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, which is whole and says this."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["detail"]
    assert body["type"] == f"urn:secateur:problem:{code}"
    return body


def rejection(upload: Model | Dataset, code: str) -> str:
    """What the record of an upload that cannot be used says."""
    assert upload.state == "rejected"
    assert upload.error is not None
    assert upload.error.code == code, upload.error
    assert upload.inspection is None
    return upload.error.message


# --- models ----------------------------------------------------------------------------------------------------------

# The inspection also runs a program, and refuses what the reader alone lets pass.
REFUSED_WHEN_RUN = {"text of an operator": "program_fails"}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_no_mark(name: str, service: Service, good: Path, data: Path, tmp_path: Path) -> None:
    attack: Attack = ATTACKS[name]
    marker = tmp_path / "mark"
    model = service.model(rewrite(good, tmp_path / "attack.pt2", attack.changes(marker)))
    code = attack.code or REFUSED_WHEN_RUN.get(name)
    if code is not None:
        rejection(model, code)
    else:
        assert model.inspection is not None, model.error
        mapped = {"train": service.dataset(data).id, "inputs": {model.inspection.inputs[0].name: "x"}}
        job = service.run(spec(model.id, "", data=mapped))
        assert job.state == "succeeded", job.error
    assert not marker.exists()


def pickled_module(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Victim(), buffer)
    return buffer.getvalue()


def torchscript(marker: Path) -> bytes:
    buffer = io.BytesIO()
    traced = torch.jit.trace(Victim().eval(), torch.zeros(2, 3))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, buffer)
    return buffer.getvalue()


FOREIGN: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "pickled module": (pickled_module, "pickled_module"),
    "pickle with a payload": (bare_pickle, "pickled_module"),
    "torch.save with a payload": (saved_pickle, "pickled_module"),
    "torchscript": (torchscript, "torchscript"),
    "text": (lambda marker: b"model", "not_a_program"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("contents", "code"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_of_another_kind_is_named(
    contents: Callable[[Path], bytes], code: str, service: Service, tmp_path: Path
) -> None:
    path, marker = tmp_path / "model.pt2", tmp_path / "mark"
    path.write_bytes(contents(marker))
    rejection(service.model(path), code)
    assert not marker.exists()


def truncated(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes()[:-100])


def compressed(good: Path, path: Path) -> None:
    rewrite(good, path, {}, compression=zipfile.ZIP_DEFLATED)


def duplicated(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("good/models/model.json", b"{}")


def traversing(good: Path, path: Path) -> None:
    rewrite(good, path, {"extra/../../../escaped": b"x"})


def oversized(good: Path, path: Path) -> None:
    """Every member claims a megabyte: together more than the file holds."""
    contents = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as zipped:
        at = zipped.start_dir
    while contents[at : at + 4] == b"PK\x01\x02":
        struct.pack_into("<II", contents, at + 20, 1 << 20, 1 << 20)
        at += 46 + sum(struct.unpack_from("<HHH", contents, at + 28))
    path.write_bytes(contents)


ZIPS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "truncated": (truncated, "corrupt_archive"),
    "compressed": (compressed, "unsafe_archive"),
    "duplicated": (duplicated, "unsafe_archive"),
    "traversing": (traversing, "unsafe_archive"),
    "oversized": (oversized, "unsafe_archive"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("build", "code"), ZIPS.values(), ids=ZIPS.keys())
def test_a_trick_of_the_zip_is_refused(
    build: Callable[[Path, Path], None], code: str, service: Service, good: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    build(good, path)
    rejection(service.model(path), code)
    assert not list(service.deployment.folder.rglob("escaped"))


def test_an_operator_that_is_not_allowed_is_named(service: Service, good: Path, tmp_path: Path) -> None:
    changes = ATTACKS["file as a tensor"].changes(tmp_path / "mark")
    message = rejection(service.model(rewrite(good, tmp_path / "a.pt2", changes)), "unsupported_operator")
    assert "torch.ops.aten.from_file.default" in message


@pytest.mark.parametrize("noun", ["models", "datasets"])
def test_bytes_that_are_not_those_promised_are_not_stored(noun: str, service: Service) -> None:
    before = service.stored()
    promised = {"Repr-Digest": f"sha-256=:{'A' * 43}=:"}
    problem(service.http.post(f"/v1/{noun}", content=b"other bytes", headers=promised), 400, "digest_mismatch")
    assert service.stored() == before
    assert service.http.get(f"/v1/{noun}").json()["data"] == []


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda contents: contents.replace(old.encode(), new.encode())


def keyword_as_a_name(good: Path, path: Path) -> None:
    renamed = replaced("layer.weight", "lambda.weight")
    rewrite(good, path, {MODEL: renamed, WEIGHTS: renamed})


def half_a_character_as_a_key(good: Path, path: Path) -> None:
    """An output that is a dict, whose key no UTF-8 can hold."""
    leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
    tree = json.dumps([1, {"type": "builtins.dict", "context": json.dumps(["\ud800"]), "children_spec": [leaf]}])

    def edit(model: dict[str, Any]) -> None:
        model["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = tree

    rewrite(good, path, {MODEL: edited(edit)})


def _last_call(target: str, *arguments: tuple[str, dict[str, Any]]) -> Mapping[str, Change]:
    """The victim with another operator at its end."""

    def edit(model: dict[str, Any]) -> None:
        node = model["graph_module"]["graph"]["nodes"][-1]
        node["target"] = target
        node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in arguments]

    return {MODEL: edited(edit)}


def sum_of_python(good: Path, path: Path) -> None:
    """Tensors added by the operator that is there for sizes."""
    x = {"as_tensor": {"name": "x"}}
    rewrite(good, path, _last_call("_operator.add", ("a", x), ("b", x)))


def tar_of_long_names(good: Path, path: Path) -> None:
    """A tar whose every header says that the next one has a long name."""
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 512
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"x" * 512) * 3000)


KNOWN = {leaf.code for leaf in vars(errors).values() if isinstance(leaf, type) and issubclass(leaf, BadModel)}

ODD: dict[str, Callable[[Path, Path], None]] = {
    "keyword as a name": keyword_as_a_name,
    "half a character as a key": half_a_character_as_a_key,
    "sum of python": sum_of_python,
    "tar of long names": tar_of_long_names,
}


@pytest.mark.parametrize("build", ODD.values(), ids=ODD.keys())
def test_an_odd_file_is_no_accident(
    build: Callable[[Path, Path], None], service: Service, good: Path, tmp_path: Path
) -> None:
    """Read or refused by a rule, but no internal error."""
    build(good, tmp_path / "odd.pt2")
    model = service.model(tmp_path / "odd.pt2")
    assert model.state == "ready" or (model.error is not None and model.error.code in KNOWN)


def number_as_a_dtype() -> Mapping[str, Change]:
    """A data type from outside of torch's table of them."""
    return _last_call("torch.ops.aten.to.dtype", ("self", {"as_tensor": {"name": "x"}}), ("dtype", {"as_int": -1}))


def too_few_statistics() -> Mapping[str, Change]:
    """Two means, variances, weights and biases for three channels; this kernel reads on behind them."""
    two = {"as_tensor": {"name": "b_scale"}}
    named = [(name, two) for name in ("weight", "bias", "running_mean", "running_var")]
    numbers = [("momentum", {"as_float": 0.1}), ("eps", {"as_float": 1e-5})]
    target = "torch.ops.aten._native_batch_norm_legit_no_training.default"
    changes = _last_call(target, ("input", {"as_tensor": {"name": "x"}}), *named, *numbers)

    def with_statistics(contents: bytes) -> bytes:
        change = changes[MODEL]
        assert callable(change)
        model = json.loads(change(contents))
        more = [{"as_tensor": {"name": name}} for name in ("mean", "deviation")]
        model["graph_module"]["graph"]["nodes"][-1]["outputs"] += more
        return json.dumps(model).encode()

    return {MODEL: with_statistics}


@pytest.mark.parametrize("changes", [number_as_a_dtype, too_few_statistics])
def test_memory_that_is_not_the_programs_is_not_read(
    changes: Callable[[], Mapping[str, Change]], service: Service, good: Path, tmp_path: Path
) -> None:
    """Refused before it runs: what a run would do is undefined."""
    model = service.model(rewrite(good, tmp_path / "odd.pt2", changes()))
    assert model.error is not None
    assert model.error.code in KNOWN - {"program_fails"}


def test_uploads_that_are_deleted_at_once_hold_nobody_up(service: Service, good: Path) -> None:
    for number in range(20):
        made = service.http.post("/v1/models", content=b"gone soon").json()
        time.sleep(number * 0.001)
        assert service.http.delete(f"/v1/models/{made['id']}").status_code == 204
    assert service.model(good).state == "ready"


# --- data sets -------------------------------------------------------------------------------------------------------


def npz(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def bomb(path: Path) -> None:
    """A hundred megabytes of zeros in a tenth of one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (100 << 20,)})
        zipped.writestr("x.npy", header.getvalue() + bytes(100 << 20))


class Payload:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


BAD_DATA: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no examples": (lambda path: examples(path, x=torch.zeros(0, 3), target=torch.zeros(0).long()), "empty_dataset"),
    "npz without examples": (lambda path: npz(path, x=np.zeros((0, 3)), target=np.zeros(0, int)), "empty_dataset"),
    "unequal lengths": (lambda path: examples(path, target=torch.zeros(39).long()), "bad_dataset"),
    "objects": (lambda path: npz(path, x=np.array([Payload(path.parent / "mark")])), "bad_dataset"),
    "bomb": (bomb, "bad_dataset"),
    "cut off": (lambda path: path.write_bytes(examples(path).read_bytes()[:-1]), "bad_dataset"),
    "lengthy header": (lambda path: path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}"), "bad_dataset"),
    "deep header": (lambda path: path.write_bytes(struct.pack("<Q", 1 << 20) + b"[" * (1 << 20)), "bad_dataset"),
    "pickle": (lambda path: path.write_bytes(bare_pickle(path.parent / "mark")), "bad_dataset"),
}


@pytest.mark.parametrize(("build", "code"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_data_that_cannot_be_used_are_rejected(
    build: Callable[[Path], Any], code: str, service: Service, tmp_path: Path
) -> None:
    build(tmp_path / "data")
    rejection(service.dataset(tmp_path / "data"), code)
    assert not (tmp_path / "mark").exists()


# The array that is changed, and what the refusal says was found and expected.
MISFITS: dict[str, tuple[dict[str, torch.Tensor | None], str, str]] = {
    "a column is missing": ({"x": None, "y": torch.zeros(40, 3)}, "data_mismatch", r"no array 'x'.*'target', 'y'"),
    "the labels are missing": ({"target": None}, "data_mismatch", r"no array 'target' for the labels.*'x'"),
    "a shape": ({"x": torch.zeros(40, 5)}, "data_mismatch", r"'x' has the shape \(40, 5\).*\(examples, 3\)"),
    "a dtype": ({"x": torch.zeros(40, 3).long()}, "data_mismatch", r"'x' is int64.*float32.*is expected"),
    "labels that are no integers": ({"target": torch.zeros(40)}, "data_mismatch", r"'target' is float32.*integer"),
    "NaN": ({"x": torch.full((40, 3), torch.nan)}, "data_mismatch", r"'x' holds values that are not finite"),
    "labels out of range": ({"target": torch.arange(40)}, "labels_out_of_range", r"from 0 to 39.*0 to 1 is expected"),
    "negative labels": ({"target": -torch.ones(40).long()}, "labels_out_of_range", r"from -1 to -1.*0 to 1"),
}


@pytest.mark.parametrize(("changes", "code", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_data_that_do_not_fit_the_model_are_told_apart(
    changes: dict[str, torch.Tensor | None], code: str, said: str, service: Service, good: Path, tmp_path: Path
) -> None:
    model, train = service.model(good), service.dataset(examples(tmp_path / "d", **changes))
    body = problem(service.http.post("/v1/jobs", json=spec(model.id, train.id)), 422, code)
    assert re.search(said, body["detail"])
    assert body["errors"][0]["pointer"] == "/data/train"
    assert service.http.get("/v1/jobs").json()["data"] == []


def test_a_job_made_before_the_inspection_fails_with_what_it_found(
    service: Service, good: Path, tmp_path: Path
) -> None:
    client = service.deployment.client
    model = client.upload_model(good)
    train = client.upload_dataset(examples(tmp_path / "d", x=torch.zeros(40, 5)))
    response = service.http.post("/v1/jobs", json=spec(model.id, train.id))
    if response.status_code == 202:
        job = service.deployment.wait(response.json()["id"], WITHIN_S)
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", "data_mismatch")
    else:  # the inspections were faster than the request
        problem(response, 422, "data_mismatch")


def test_a_loss_that_is_not_finite_fails_the_job(service: Service, tmp_path: Path) -> None:
    save_program(torch.nn.Linear(3, 2), torch.zeros(2, 3), tmp_path / "linear.pt2")
    target = torch.ones(40, 2)
    train = service.dataset(examples(tmp_path / "d", x=None, input=torch.randn(40, 3), target=target))
    recover = {"kind": "fine_tune", "learning_rate": 1000, "epochs": 20, "batch_size": 4, "curve": "constant"}
    model = service.model(tmp_path / "linear.pt2")
    job = service.run(spec(model.id, train.id, task={"kind": "regression"}, recover=recover))
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "diverged")
    assert job.error.remedy
    assert job.artifacts == ()
    assert not [path for path in service.stored() if job.id in path.parts], "an attempt left its folder"
    problem(service.http.get(f"/v1/jobs/{job.id}/report"), 409, "wrong_state")


class Words(torch.nn.Module):
    """Ten words, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(10, 4)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3) to (batch, 2)."""
        return self.head(self.words(x).mean(1))  # type: ignore[no-any-return]


class Overwritten(torch.nn.Module):
    """Runs, but cannot be trained: what the gradient of exp needs is overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3) to (batch, 2)."""
        grown: torch.Tensor = self.head(x).exp()
        copied = grown * 1.0
        return copied + grown.mul_(2)


def save_program(module: torch.nn.Module, example: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},)), path)


def test_indices_beyond_the_embedding_do_not_fit(service: Service, tmp_path: Path) -> None:
    """Said when the job is made, or, where the inspection cannot know, by the job."""
    save_program(Words(), torch.zeros(2, 3).long(), tmp_path / "model.pt2")
    train = service.dataset(examples(tmp_path / "d", x=torch.full((40, 3), 50)))
    response = service.http.post("/v1/jobs", json=spec(service.model(tmp_path / "model.pt2").id, train.id))
    if response.status_code == 422:
        assert "50" in problem(response, 422, "data_mismatch")["detail"]
        return
    job = service.deployment.wait(response.json()["id"], WITHIN_S)
    assert job.error is not None
    assert job.error.code == "data_mismatch"


def test_a_program_that_cannot_be_trained_is_told_apart(service: Service, data: Path, tmp_path: Path) -> None:
    """By its inspection, or by the job."""
    save_program(Overwritten(), torch.zeros(2, 3), tmp_path / "model.pt2")
    model = service.model(tmp_path / "model.pt2")
    failed = model if model.error else service.run(spec(model.id, service.dataset(data).id))
    assert failed.error is not None
    assert failed.error.code in KNOWN | {"job_failed"}


# --- requests --------------------------------------------------------------------------------------------------------


def sparsity(amount: float, **layers: Any) -> dict[str, Any]:
    return {"target": {"kind": "sparsity", "amount": amount}, "layers": layers}


BAD_SPECS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({"prune_harder": True}, "invalid_spec", "/prune_harder"),
    "everything away": ({"prune": sparsity(1.0)}, "invalid_spec", "/prune/target/amount"),
    "less than nothing": ({"prune": sparsity(-0.1)}, "invalid_spec", "/prune/target/amount"),
    "no glob matches": ({"prune": sparsity(0.5, include=["conv*"])}, "nothing_matches", "/prune/layers/include/0"),
    "all excluded": ({"prune": sparsity(0.5, exclude=["*"])}, "nothing_matches", "/prune/layers"),
}


@pytest.mark.parametrize(("changes", "code", "pointer"), BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_a_spec_that_makes_no_sense_is_refused(
    changes: dict[str, Any], code: str, pointer: str, service: Service, good: Path, data: Path
) -> None:
    wanted = spec(service.model(good).id, service.dataset(data).id, **changes)
    body = problem(service.http.post("/v1/jobs", json=wanted), 422, code)
    assert body["errors"][0]["pointer"] == pointer
    assert service.http.get("/v1/jobs").json()["data"] == []


def test_what_does_not_exist_is_not_found(service: Service, data: Path) -> None:
    model, train, job = f"/v1/models/{new_id('mdl')}", f"/v1/datasets/{new_id('dst')}", f"/v1/jobs/{new_id('job')}"
    for url in (model, train, job, f"{job}/events", f"{job}/report", f"{job}/artifacts", "/v1/jobs/../../etc/passwd"):
        problem(service.http.get(url), 404, "not_found")
    for url in (model, train, job):
        problem(service.http.delete(url), 404, "not_found")
    problem(service.http.post(f"{job}/cancel"), 404, "not_found")
    wanted = spec(new_id("mdl"), service.dataset(data).id)
    problem(service.http.post("/v1/jobs", json=wanted), 404, "not_found")


def test_what_its_state_does_not_allow_is_a_conflict(service: Service, good: Path, data: Path, tmp_path: Path) -> None:
    model, train = service.model(good), service.dataset(data)
    job = service.run(spec(model.id, train.id))
    assert job.state == "succeeded", job.error
    problem(service.http.post(f"/v1/jobs/{job.id}/cancel"), 409, "wrong_state")
    problem(service.http.get(f"/v1/jobs/{job.id}/artifacts/none"), 404, "not_found")
    (tmp_path / "text").write_text("no model")
    refused = service.model(tmp_path / "text")
    body = problem(service.http.post("/v1/jobs", json=spec(refused.id, train.id)), 409, "wrong_state")
    assert "not_a_program" in body["detail"]
    waiting = service.http.post("/v1/jobs", json=spec(model.id, train.id, device="cuda")).json()["id"]
    for url in (f"/v1/models/{model.id}", f"/v1/datasets/{train.id}"):
        problem(service.http.delete(url), 409, "in_use")
    problem(service.http.delete(f"/v1/jobs/{waiting}"), 409, "wrong_state")
    problem(service.http.get(f"/v1/jobs/{waiting}/report"), 409, "wrong_state")
    assert service.http.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"


def test_a_key_stands_for_one_request(service: Service, good: Path, data: Path) -> None:
    wanted = spec(service.model(good).id, service.dataset(data).id, device="cuda")
    key = {"Idempotency-Key": new_id("job")}
    first = service.http.post("/v1/jobs", json=wanted, headers=key)
    assert service.http.post("/v1/jobs", json=wanted, headers=key).json()["id"] == first.json()["id"]
    problem(service.http.post("/v1/jobs", json=wanted | {"seed": 1}, headers=key), 422, "idempotency_mismatch")
    assert [job["id"] for job in service.http.get("/v1/jobs").json()["data"]] == [first.json()["id"]]
    service.http.post(f"/v1/jobs/{first.json()['id']}/cancel")


def test_a_key_stands_for_one_upload(service: Service, data: Path) -> None:
    key = {"Idempotency-Key": new_id("dst")}
    made = service.http.post("/v1/datasets", content=data.read_bytes(), headers=key)
    assert made.status_code == 201
    client = service.deployment.client
    client.wait(client.dataset(made.json()["id"]), WITHIN_S)
    until(lambda: len(service.stored()) == 1, 5, "nothing but the data set")
    problem(service.http.post("/v1/datasets", content=b"another", headers=key), 422, "idempotency_mismatch")
    assert len(service.stored()) == 1, "the refused bytes were kept"


def test_after_all_that_the_service_still_works(service: Service, good: Path, data: Path) -> None:
    job = service.run(spec(service.model(good).id, service.dataset(data).id))
    assert job.state == "succeeded", job.error
    assert job.attempts == 1
    assert {file.name for file in job.artifacts} == {"model.pt2", "model.safetensors", "report.json"}
    assert "Traceback" not in (service.deployment.folder / "app.log").read_text()
