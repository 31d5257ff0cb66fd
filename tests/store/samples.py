"""Small uploads, specs and reports that fit together."""

from __future__ import annotations

from typing import Any

from secateur.ids import new_id
from secateur.inspection import ArrayInfo, Batch, DatasetInspection, Layer, ModelInspection, TensorInfo
from secateur.report import Metric, Provenance, Report, Size, Sparsity
from secateur.resources import Worker
from secateur.spec import JobSpec
from store.store import Store

MODEL = ModelInspection(
    written_by="2.13.0",
    inputs=(TensorInfo(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorInfo(name="0", dtype="float32", shape=("batch", 10)),),
    batch=Batch(kind="dynamic"),
    parameters=50,
    state_bytes=200,
    layers=(Layer(name="fc.weight", shape=(10, 4), total=40, zeros=0, operator="linear"),),
)
DATASET = DatasetInspection(
    format="safetensors",
    examples=100,
    arrays=(
        ArrayInfo(name="x", dtype="float32", shape=(100, 4), minimum=0, maximum=1),
        ArrayInfo(name="target", dtype="int64", shape=(100,), minimum=0, maximum=9),
    ),
)
INSPECTIONS = {"model": MODEL, "dataset": DATASET}


def upload(store: Store, noun: Any, data: bytes = b"bytes") -> str:
    """An upload that waits for its inspection; its upload_id."""
    with store.blobs.writer() as writer:
        writer.write(data)
        record, new = store.uploads.create(noun, "name", writer.commit())
    assert new
    return record.id


def inspect_all(store: Store) -> None:
    """Every waiting upload turns out to be what the samples say."""
    while claim := store.leases.claim_upload("inspector"):
        assert claim.noun in INSPECTIONS
        claim.ready(INSPECTIONS[claim.noun])
        store.jobs.admit(claim.id)


def spec(model: str, train: str, **fields: Any) -> JobSpec:
    """A spec that fits the samples."""
    return JobSpec.model_validate(
        {
            "model": model,
            "data": {"train": train},
            "prune": {"target": {"kind": "sparsity", "amount": 0.5}},
            "recover": {"kind": "none"},
            **fields,
        }
    )


def ready_spec(store: Store, **fields: Any) -> JobSpec:
    """A spec whose uploads are ready."""
    model, train = upload(store, "model", b"model"), upload(store, "dataset", b"data")
    inspect_all(store)
    return spec(model, train, **fields)


def report(about: JobSpec) -> Report:
    """A report as a worker might write it."""
    return Report(
        metric=Metric(
            name="accuracy",
            on="validation",
            higher_is_better=True,
            dense=0.9,
            one_shot=0.5,
            pruned=0.6,
            recovered=0.9,
            examples=10,
            standard_error=0.1,
        ),
        rounds=(),
        sparsity=Sparsity(overall=0.5, zeros=20, total=40, layers=()),
        size=Size(
            dense_parameters=50,
            parameters=50,
            nonzero=30,
            dense_bytes=200,
            pruned_bytes=200,
            artifacts={},
            gzip_bytes={},
        ),
        latency=(),
        timing={},
        provenance=Provenance(
            spec=about, model_sha256="", data_sha256={}, seed=0, versions={}, hardware={}, attempts=1
        ),
    )


def worker(*queues: str) -> Worker:
    """A worker that serves these queues."""
    return Worker.model_validate(
        {
            "id": new_id("wrk"),
            "device": queues[0],
            "device_name": "a device",
            "memory_bytes": 1,
            "queues": queues,
            "heartbeat_at": "2026-01-01T00:00:00Z",
        }
    )
