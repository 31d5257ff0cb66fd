"""Jobs that learn from the dense network: without labels, with features, by weights and by units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import BadFeature
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CASES, CLASSES, Case, images
from worker import bench
from worker.methods.removal import Removal
from worker.order import JobOrder
from worker.program.inspection import inspect
from worker.program.observing import observed
from worker.program.reader import read

WEIGHTS = {
    "importance": {"kind": "wanda", "batches": 2},
    "target": {"kind": "sparsity", "amount": 0.8},
    "schedule": {"kind": "iterative", "rounds": 2},
}
UNITS = {
    "granularity": "unit",
    "target": {"kind": "units", "amount": 0.5},
    "schedule": {"kind": "iterative", "rounds": 2},
}
FEATURES = ["relu_default", "mean_dim"]


class Stream(nn.Module):
    """Two convolutions that lose channels, batch norm, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(nn.functional.dropout(torch.relu(self.wide(x)).mean((2, 3)), 0.2, self.training))


@pytest.fixture
def unlabelled() -> Case:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    return Case(Stream().eval(), (x[:2],), {"x": x}, dynamic=({0: torch.export.Dim("batch")},))


def wanted(
    folder: Path, case: Case, prune: dict[str, Any], task: dict[str, Any] | None = None, **more: Any
) -> JobOrder:
    """A job of two rounds that learns features, too."""
    distill = {"temperature": 3.0, "weight": 0.7, "features": FEATURES, **more.pop("distill", {})}
    recover = {"kind": "fine_tune", "learning_rate": 0.02, "batch_size": 4, "epochs_per_round": 1, "epochs": 2}
    spec = {
        "task": task or {"kind": "distillation_only"},
        "prune": prune,
        "recover": {**recover, "distill": distill},
        "finalize": {"artifacts": ["pt2", "safetensors"], "latency": None},
    }
    return order(folder, case, spec=spec, **more)


@pytest.mark.parametrize("prune", [WEIGHTS, UNITS], ids=["weights", "units"])
def test_a_job_without_labels_resumes_from_any_checkpoint(
    unlabelled: Case, tmp_path: Path, prune: dict[str, Any]
) -> None:
    whole = wanted(tmp_path, unlabelled, prune)
    metric = run(whole).report.metric
    upload, pruned = (torch.export.load(path).module() for path in (tmp_path / "upload.pt2", pruned_file(whole)))
    x = unlabelled.arrays["x"]
    assert (metric.name, metric.dense, metric.examples) == ("agreement", 1.0, len(x))
    assert metric.recovered == pytest.approx(float((upload(x).argmax(1) == pruned(x).argmax(1)).float().mean()))

    kept = checkpoints(wanted(tmp_path, unlabelled, prune, checkpoint_every_s=1e-6), tmp_path)
    for path, digest in kept[1::6]:
        resumed = wanted(tmp_path, unlabelled, prune, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)


def pruned_file(done: JobOrder) -> Path:
    return Path(done.folder) / "model.pt2"


def test_of_a_feature_those_entries_are_learned_that_are_left(unlabelled: Case, tmp_path: Path) -> None:
    job = wanted(tmp_path, unlabelled, UNITS)
    program = read(Path(job.model))
    work = bench.lay_out(job, inspect(program), program)
    method = Removal(program, work, lambda _: None)
    x = unlabelled.arrays["x"]
    assert work.teacher is not None

    method.prune(2)

    teacher = work.teacher.of_what_is_left(method.network.left_of)
    with torch.no_grad():
        relu = observed(method.program, ["relu_default"])(x)[1][0]
    assert relu.shape[1] < 8
    torch.testing.assert_close(relu, teacher.answer((x,)).features[0])  # nothing before it has lost an input


def test_a_job_of_numbers_without_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["two inputs"]()
    arrays = {name: array for name, array in case.arrays.items() if name != "target"}
    job = wanted(
        tmp_path,
        Case(case.module, case.inputs, arrays, case.dynamic),
        WEIGHTS,
        {"kind": "distillation_only", "like": "regression"},
        distill={"features": ["tanh_default"], "temperature": 2.0},
    )
    metric = run(job).report.metric
    assert (metric.name, metric.dense) == ("rmse", 0.0)
    assert metric.pruned is not None
    assert 0 < metric.recovered < metric.pruned


@pytest.mark.parametrize("prune", [WEIGHTS, UNITS], ids=["weights", "units"])
def test_a_node_that_is_not_there_ends_the_job_before_anything_is_done(
    unlabelled: Case, tmp_path: Path, prune: dict[str, Any]
) -> None:
    said: list[Any] = []
    with pytest.raises(BadFeature, match="'relu_default'"):
        run(wanted(tmp_path, unlabelled, prune, distill={"features": ["relu_2"]}), said)
    assert [message.stage for message in said] == ["load"]


def test_labels_that_are_there_are_not_read(unlabelled: Case, tmp_path: Path) -> None:
    results = []
    for number, more in enumerate(({}, {"target": torch.zeros(24, 3)})):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = Case(unlabelled.module, unlabelled.inputs, unlabelled.arrays | more, unlabelled.dynamic)
        job = wanted(folder, case, WEIGHTS)
        run(job)
        results.append(digests(job))
    assert results[0] == results[1]
