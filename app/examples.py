"""Examples for the API's description, built from the classes themselves so that they are always valid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from secateur.inspection import ArrayInfo, Batch, DatasetInspection, Layer, ModelInspection, TensorInfo
from secateur.report import LayerSparsity, Metric, Provenance, Report, Round, Size, Sparsity, UnitCount
from secateur.resources import Artifact, Change, Dataset, Event, Finding, Forecast, Job, Model, Validation, Worker
from secateur.spec import JobSpec
from secateur.states import JobState, Stage, UploadState
from secateur.units import Axis, FrozenNode, ModelUnits, Part, Term, UnitGroup

MODEL_ID = "mdl_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"
TRAIN_ID = "dst_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"
TEST_ID = "dst_01JD8Y71C4W8X2Y5Z7A9B1D3E5"
JOB_ID = "job_01JD8Y7A2B4C6D8E0F1G3H5J7K"
WORKER_ID = "wrk_01JD8Y5M9N0P1Q2R3S4T5V6W7X"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def example(record: BaseModel) -> dict[str, Any]:
    """A record as JSON."""
    return record.model_dump(mode="json")


def answers(status: int, description: str, shown: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of a route that answers with an example."""
    return {status: {"description": description, "content": {"application/json": {"example": shown}}}}


def page(*shown: dict[str, Any]) -> dict[str, Any]:
    """A page that holds examples."""
    return {"data": list(shown), "next": None}


SPEC: dict[str, Any] = {
    "model": MODEL_ID,
    "data": {"train": TRAIN_ID, "test": TEST_ID},
    "task": {"kind": "classification"},
    "prune": {
        "importance": {"kind": "l1"},
        "scope": "global",
        "target": {"kind": "sparsity", "amount": 0.9},
        "schedule": {"kind": "iterative", "rounds": 5, "curve": "cubic"},
    },
    "recover": {"kind": "fine_tune", "epochs_per_round": 2, "epochs": 5, "original_learning_rate": 0.1},
}

_layers = (
    Layer(name="hidden.weight", shape=(64, 64), total=4096, zeros=0, operator="linear", input_axis=1),
    Layer(name="fc.weight", shape=(10, 64), total=640, zeros=0, operator="linear", input_axis=1),
)
_hidden = Axis(fixed=0, parts=((0, 1),))
_units = ModelUnits(
    groups=(
        UnitGroup(
            name="hidden.weight",
            kind="neuron",
            size=64,
            births=("hidden.weight",),
            tensors=("hidden.weight:0", "hidden.bias:0", "fc.weight:1"),
            share=4800 / 4810,
            parameters_per_unit=75,
            macs_per_unit=74,
            rows=1,
            part=(0,),
            l1=tuple(round(1.1 / (64.1 - unit), 6) for unit in range(64)),
            l2=tuple(round(1.2 / (64.2 - unit), 6) for unit in range(64)),
        ),
    ),
    parts=(Part(group=0, size=64),),
    parameters=(
        Term(axes=(_hidden, Axis(fixed=64))),
        Term(axes=(_hidden,)),
        Term(axes=(Axis(fixed=10), _hidden)),
        Term(axes=(Axis(fixed=10),)),
    ),
    macs=(Term(factor=3, axes=(_hidden, Axis(fixed=64))), Term(factor=3, axes=(_hidden, Axis(fixed=10)))),
    batch=3,
    frozen=(FrozenNode(node="output", why="the network's outputs are never cut", parameters=("fc.weight:0",)),),
    prunable_share=4800 / 4810,
)

MODEL = example(
    Model(
        id=MODEL_ID,
        name="model.pt2",
        state=UploadState.READY,
        size_bytes=18_432,
        sha256=SHA256,
        created_at=NOW,
        inspection=ModelInspection(
            written_by="2.13.0",
            inputs=(TensorInfo(name="x", dtype="float32", shape=("batch", 64)),),
            outputs=(TensorInfo(name="0", dtype="float32", shape=("batch", 10), ends_in="logits"),),
            batch=Batch(kind="dynamic"),
            parameters=4810,
            state_bytes=19_240,
            layers=_layers,
            units=_units,
        ),
    )
)

DATASET = example(
    Dataset(
        id=TRAIN_ID,
        name="train.safetensors",
        state=UploadState.READY,
        size_bytes=237_568,
        sha256=SHA256,
        created_at=NOW,
        inspection=DatasetInspection(
            format="safetensors",
            examples=898,
            arrays=(
                ArrayInfo(name="x", dtype="float32", shape=(898, 64), minimum=0, maximum=1),
                ArrayInfo(name="target", dtype="int64", shape=(898,), minimum=0, maximum=9),
            ),
        ),
    )
)

_spec = JobSpec.model_validate(SPEC)
_artifact = Artifact(name="model.pt2", size_bytes=18_432, sha256=SHA256)

QUEUED_JOB = example(Job(id=JOB_ID, state=JobState.QUEUED, rounds=5, queue_position=0, created_at=NOW, spec=_spec))

STRUCTURED_SPEC: dict[str, Any] = {
    **SPEC,
    "prune": {"granularity": "neuron", "target": {"kind": "macs", "amount": 0.5}, "schedule": {"kind": "one_shot"}},
}

JOB = example(
    Job(
        id=JOB_ID,
        state=JobState.RUNNING,
        stage=Stage.FINE_TUNE,
        round=2,
        rounds=5,
        progress=0.4,
        attempts=1,
        worker=WORKER_ID,
        last_heartbeat_at=NOW,
        created_at=NOW - timedelta(minutes=1),
        started_at=NOW - timedelta(seconds=40),
        spec=_spec,
    )
)

ARTIFACT = example(_artifact)

EVENT = example(Event(id="1763888400000-0", at=NOW, type="stage", attempt=1, data={"stage": "fine_tune", "round": 2}))

WORKER = example(
    Worker(
        id=WORKER_ID,
        device="cpu",
        device_name="x86_64",
        memory_bytes=16 << 30,
        queues=("cpu", "any"),
        job=JOB_ID,
        heartbeat_at=NOW,
    )
)

VALIDATION = example(
    Validation(
        valid=True,
        forecast=Forecast(rounds=5, weights=4736, zeros=4262, layers=("hidden.weight", "fc.weight"), examples=809),
    )
)

STRUCTURED_VALIDATION = example(
    Validation(
        valid=True,
        forecast=Forecast(
            rounds=1,
            examples=809,
            units=(UnitCount(group="hidden.weight", kind="neuron", before=64, after=32),),
            parameters=Change(before=4810, after=2410),
            macs=Change(before=4736, after=2368),
        ),
    )
)

INVALID = example(
    Validation(
        valid=False,
        problems=(
            Finding(code="nothing_matches", pointer="/prune/layers/include/0", message="'conv*' matches no layer"),
        ),
    )
)

REPORT = example(
    Report(
        metric=Metric(
            name="accuracy",
            on="test",
            higher_is_better=True,
            dense=0.971,
            one_shot=0.402,
            pruned=0.934,
            recovered=0.968,
            examples=899,
            standard_error=0.0059,
        ),
        rounds=(Round(round=1, sparsity=0.9, pruned=0.934, recovered=0.968, epochs=5, best_epoch=4),),
        sparsity=Sparsity(
            overall=0.9,
            zeros=4262,
            total=4736,
            layers=(
                LayerSparsity(name="hidden.weight", shape=(64, 64), zeros=3686, total=4096),
                LayerSparsity(name="fc.weight", shape=(10, 64), zeros=576, total=640),
            ),
        ),
        size=Size(
            dense_parameters=4810,
            parameters=4810,
            nonzero=548,
            dense_bytes=19_240,
            pruned_bytes=19_240,
            artifacts={"model.pt2": 18_432},
            gzip_bytes={"dense": 17_812, "pruned": 2_961},
        ),
        latency=(),
        timing={"load": 0.4, "evaluate": 0.2, "prune": 0.1, "fine_tune": 6.2, "finalize": 0.9},
        provenance=Provenance(
            spec=_spec,
            model_sha256=SHA256,
            data_sha256={TRAIN_ID: SHA256, TEST_ID: SHA256},
            seed=0,
            versions={"secateur": "0.1.0", "torch": "2.13.0"},
            hardware={"device": "cpu", "threads": 2},
            attempts=1,
        ),
    )
)
