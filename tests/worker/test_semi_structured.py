"""N:M jobs where there are kernels for 2:4: these run on the CPU here, the rest is as on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.latency import Latency, SemiStructured
from secateur.report import Report
from tests.worker.jobs import order, run
from tests.worker.networks import CLASSES, Case, images, labels
from tests.worker.sparse_kernels import on_the_cpu, packed_program
from worker import finalize, semi_structured
from worker.program.semi_structured import PROTOTYPE

WARNS = f"ignore:{PROTOTYPE}"
FINE_TUNE = {"kind": "fine_tune", "learning_rate": 0.05, "batch_size": 8, "epochs_per_round": 1, "epochs": 1}


class Layers(nn.Module):
    """A convolution, a linear layer that runs twice, one whose weight is also used otherwise, and a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.twice, self.added = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).amax((2, 3))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.head(torch.relu(self.added(x)) + self.added.weight.mean())


@pytest.fixture(autouse=True)
def there_are_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semi_structured, "has_kernels", lambda device: True)


def done(
    folder: Path,
    recover: dict[str, Any],
    keep: int = 2,
    of: int = 4,
    dtype: torch.dtype = torch.float32,
    network: Callable[[], nn.Module] = Layers,
    **changes: Any,
) -> Any:
    torch.manual_seed(0)
    x = images(1, 6, 6).to(dtype)
    case = Case(network().to(dtype).eval(), (x[:2],), {"x": x, "target": labels()}, **changes)
    prune = {"target": {"kind": "n_m", "keep": keep, "of": of}, "schedule": {"kind": "one_shot"}}
    wanted = order(folder, case, spec={"prune": prune, "recover": recover})
    return wanted, run(wanted).report


def test_a_network_trained_in_bf16_is_tried_in_bf16(tmp_path: Path) -> None:
    with on_the_cpu():
        _, report = done(tmp_path, FINE_TUNE | {"precision": "bf16"})
    found = report.semi_structured
    assert (found.autocast, found.layers) == ("bf16", ("twice.weight",))
    assert found.left["added.weight"] == "It is not the weight of linear layers alone."
    assert found.left["head.weight"].startswith("torch says: Error original_tensor.shape")
    assert "conv.weight" not in found.left, "it has no block"
    assert found.holds
    assert 0 < found.max_relative_error <= found.tolerance < 0.2
    assert found.metric == pytest.approx(report.metric.recovered, abs=0.15)
    assert [row.batch for row in found.latency] == [row.batch for row in report.latency] == [2]
    assert any("take 1 weight matrix of it, it is " in note for note in report.notes)


class Turned(Layers):
    """One whose weight does not lie row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.twice.weight = nn.Parameter(self.twice.weight.detach().t())


@pytest.mark.filterwarnings(WARNS, "ignore:No complete tensor found in the group")
@pytest.mark.parametrize("network", [Layers, Turned])
def test_the_lines_of_the_documents_run_what_was_measured(tmp_path: Path, network: Callable[[], nn.Module]) -> None:
    with on_the_cpu():
        wanted, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16, network=network)
        found = report.semi_structured
        assert (found.autocast, found.layers, found.holds) == (None, ("twice.weight",), True)
        x = images(1, 6, 6).half()[:2]
        path = Path(wanted.folder) / "model.pt2"
        expected = torch.export.load(path).module()(x)
        program = packed_program(path, report, "cpu")
        assert isinstance(program.get_parameter("twice.weight").data, torch.sparse.SparseSemiStructuredTensor)
        assert torch.allclose(program(x), expected, atol=1e-2)


def test_float32_has_no_kernels(tmp_path: Path) -> None:
    with on_the_cpu():
        _, report = done(tmp_path, FINE_TUNE)
    assert report.semi_structured.layers == ()
    assert "torch.float32 is not a supported dtype" in report.semi_structured.left["twice.weight"]
    assert any("take no layer of it here" in note for note in report.notes)


def test_other_patterns_are_not_theirs(tmp_path: Path) -> None:
    with on_the_cpu():
        _, report = done(tmp_path, FINE_TUNE | {"precision": "bf16"}, keep=4, of=8)
    assert report.semi_structured.left["twice.weight"] == "Its rows are not blocks of 4 with at most 2 weights."


def test_kernels_that_compute_something_else_are_found_out(tmp_path: Path) -> None:
    with on_the_cpu(lambda weight, rows: 1.5 * (weight @ rows)):
        _, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16)
    found = report.semi_structured
    assert (found.layers, found.holds, found.metric, found.latency) == (("twice.weight",), False, None, ())
    assert found.max_relative_error > found.tolerance
    assert any("compute something else here" in note for note in report.notes)


def test_a_difference_that_is_no_number_is_found_out_and_crosses_the_line(tmp_path: Path) -> None:
    with on_the_cpu(lambda weight, rows: float("nan") * (weight @ rows)):
        _, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16)
    found = report.semi_structured
    assert (found.holds, found.max_relative_error) == (False, None)
    assert any("the error is no finite number" in note for note in report.notes)
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_whole_numbers_beside_the_scores_may_differ(tmp_path: Path) -> None:
    """They are not continuous: rounding may change them, also that of dense kernels."""

    class Counting(Layers):
        def forward(self, x: Tensor) -> Any:
            scores = super().forward(x)
            return scores, (1e6 * scores.float()).long()

    with on_the_cpu():
        _, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16, network=Counting, output=0)
    assert report.semi_structured.holds


def test_both_of_a_pair_that_is_timed_have_weights_that_are_cast_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a cast in every run costs is not what zeros are worth."""
    timed: list[torch.dtype] = []
    measure_latency = finalize.measure_latency

    def spied(dense: Any, pruned: Any, *how: Any) -> Any:
        if isinstance(pruned, semi_structured.Cast):
            timed.extend(each.program.module.get_parameter("twice.weight").dtype for each in (dense, pruned))
        return measure_latency(dense, pruned, *how)

    monkeypatch.setattr(finalize, "measure_latency", spied)
    with on_the_cpu():
        done(tmp_path, FINE_TUNE | {"precision": "bf16"})
    assert timed == [torch.bfloat16, torch.bfloat16]


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, ValueError, KeyError])
def test_kernels_that_fail_are_said_and_the_layer_stays_dense(tmp_path: Path, error: type[Exception]) -> None:
    def broken(weight: Tensor, rows: Tensor) -> Tensor:
        raise error("CUDA error: architecture mismatch\nwhen calling `cusparseLtInit`")

    with on_the_cpu(broken):
        _, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16)
    assert "CUDA error: architecture mismatch" in report.semi_structured.left["twice.weight"]
    assert report.semi_structured.holds is None


def test_kernels_that_fail_late_do_not_cost_the_job(tmp_path: Path) -> None:
    runs = 0

    def tiring(weight: Tensor, rows: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        if runs > 4:
            raise RuntimeError("CUDA error: it is late")
        return weight @ rows

    with on_the_cpu(tiring):
        wanted, report = done(tmp_path, {"kind": "none"}, dtype=torch.float16)
    assert report.semi_structured is None
    assert any("failed here: " in note and "it is late" in note for note in report.notes)
    assert (Path(wanted.folder) / "model.pt2").exists()


def row(batch: int, speed_up: float) -> Latency:
    times = dict.fromkeys(("dense_p50_ms", "dense_p95_ms", "pruned_p50_ms", "pruned_p95_ms"), 1.0)
    return Latency(batch=batch, **times, speed_up=speed_up, runs=3, threads=1, device="cpu")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ((row(1, 0.6), row(32, 1.4)), "it is faster: 1.40 times as fast as the dense network in the same precision"),
        ((row(1, 0.6), row(32, 1.004)), "it is not faster here either: 1.00 times"),
        ((), "how fast that is was not measured"),
    ],
)
def test_it_is_said_whether_it_is_faster(rows: tuple[Latency, ...], sentence: str) -> None:
    figures = {"max_relative_error": 0.001, "tolerance": 0.01, "holds": True, "metric": 0.9}
    found = SemiStructured(autocast=None, layers=("a.weight",), left={}, latency=rows, **figures)
    assert sentence in semi_structured.told(found)
