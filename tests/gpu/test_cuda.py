"""What has to hold on a CUDA device. Where there is none these are listed, by name, as not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export.passes import move_to_device_pass
from torch.utils._python_dispatch import TorchDispatchMode

from tests.worker.jobs import checkpoints, digests, export, order, run
from tests.worker.networks import CASES, CLASSES, TASKS, Case, images, labels
from tests.worker.sparse_kernels import packed_program
from worker.program.reader import read
from worker.program.semi_structured import PROTOTYPE
from worker.recovery.autocast import DTYPES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def test_a_job_on_cuda_prunes_what_the_cpu_prunes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["flatten, fixed batch"]()
    one_shot = {"prune": {"target": {"kind": "sparsity", "amount": 0.6}, "schedule": {"kind": "one_shot"}},
                "recover": {"kind": "none"}}  # fmt: skip
    zeros = []
    for device in ("cpu", "cuda:0"):
        wanted = order(tmp_path, case, spec=one_shot, device=device)
        run(wanted)
        state = torch.export.load(Path(wanted.folder) / "model.pt2").state_dict
        zeros.append({name: state[name] == 0 for name in ("conv.weight", "fc.weight")})
    for name, mask in zeros[0].items():
        assert torch.equal(mask, zeros[1][name])


@pytest.mark.parametrize("kind", ["taylor", "snip", "wanda", "movement"])
def test_what_is_gathered_on_cuda_is_what_the_cpu_gathers(kind: str, tmp_path: Path) -> None:
    """To rounding: where two scores are nearly equal one device may take the other weight."""
    torch.manual_seed(0)
    case = CASES["flatten, fixed batch"]()
    prune = {"target": {"kind": "sparsity", "amount": 0.6}, "schedule": {"kind": "one_shot"}}
    spec = {"prune": {**prune, "importance": {"kind": kind}}, "recover": {"kind": "none"}}
    zeros = []
    for device in ("cpu", "cuda:0"):
        wanted = order(tmp_path, case, spec=spec, device=device)
        run(wanted)
        state = torch.export.load(Path(wanted.folder) / "model.pt2").state_dict
        zeros.append(torch.cat([(state[name] == 0).flatten().cpu() for name in ("conv.weight", "fc.weight")]))
    assert int((zeros[0] != zeros[1]).sum()) <= 0.02 * len(zeros[0])


def test_gradients_of_a_recurrent_network_are_gathered_in_evaluation_mode_on_cuda(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = images(5, 4)[..., :3].contiguous()
    case = Case(Recurrent().eval(), (x[:2],), {"x": x, "target": labels()})
    prune = {"target": {"kind": "sparsity", "amount": 0.6}, "importance": {"kind": "taylor"}}
    report = run(order(tmp_path, case, spec={"prune": prune, "recover": {"kind": "none"}}, device="cuda:0")).report
    assert report.sparsity.zeros == round(0.6 * report.sparsity.total)


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = torch.nn.GRU(3, 5, batch_first=True), torch.nn.Linear(5, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(x)[0][:, -1])


def test_the_whole_job_runs_on_cuda(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = order(tmp_path, CASES["flatten, fixed batch"](), device="cuda:0")
    report = run(wanted).report
    assert report.sparsity.zeros == round(0.6 * report.sparsity.total)
    assert all(row.device == torch.cuda.get_device_name() for row in report.latency)


def test_units_are_cut_and_proved_on_cuda_and_a_resumed_job_writes_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["torch's pruning attached"]()
    adamw = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 8, "epochs_per_round": 1, "epochs": 1,
             "optimizer": {"kind": "adamw"}, "reset_optimizer": False}  # fmt: skip
    half = {"granularity": "unit", "target": {"kind": "macs", "amount": 0.5}}
    spec = {"prune": half | {"schedule": {"kind": "iterative", "rounds": 3}}, "recover": adamw, "finalize": {}}
    whole = order(tmp_path, case, spec=spec, device="cuda:0", checkpoint_every_s=1e-6)
    kept = checkpoints(whole, tmp_path)
    for path, digest in kept[3:8:2]:
        changes = {"checkpoint": str(path), "checkpoint_sha256": digest, "attempt": 2, "device": "cuda:0"}
        resumed = order(tmp_path, case, spec=spec, **changes)
        report = run(resumed).report
        assert digests(resumed) == digests(whole)
        assert report.proof is not None
        assert report.proof.holds
        assert all(row.device == torch.cuda.get_device_name() for row in report.latency)


def test_an_artifact_made_on_cuda_runs_on_the_cpu(tmp_path: Path) -> None:
    case = CASES["two inputs"]()
    wanted = order(tmp_path, case, device="cuda:0")
    run(wanted)
    program = torch.export.load(Path(wanted.folder) / "model.pt2").module()
    assert program(*(value[:5] for key, value in case.arrays.items() if key != "target")).device.type == "cpu"


def test_a_program_moves_there_and_back(tmp_path: Path) -> None:
    case = CASES["tiny Llama"]()
    export(case, tmp_path / "model.pt2")
    program = read(tmp_path / "model.pt2")
    inputs = program.example(3)
    expected = program(*inputs)
    program.to("cuda")
    found = program(*(tensor.cuda() for tensor in inputs))
    program.to("cpu")
    assert torch.allclose(found.cpu(), expected, atol=1e-4)
    assert torch.equal(program(*inputs), expected)


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_measures_on_cuda_what_it_measures_on_the_cpu(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = TASKS[kind]()
    metrics = [run(order(tmp_path, case, device=device)).report.metric for device in ("cpu", "cuda:0")]
    assert metrics[1].dense == pytest.approx(metrics[0].dense, rel=1e-3)
    assert metrics[1].examples == metrics[0].examples


DIGITS = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 8, "epochs_per_round": 1, "epochs": 2}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_multiplies_in_it_and_a_resumed_job_writes_the_same_bytes(
    tmp_path: Path, precision: str
) -> None:
    torch.manual_seed(0)
    case, spec = CASES["flatten, fixed batch"](), {"recover": DIGITS | {"precision": precision}}
    whole = order(tmp_path, case, spec=spec, device="cuda:0", checkpoint_every_s=1e-6)
    with Products() as products:
        kept = checkpoints(whole, tmp_path)
    assert {"bf16": torch.bfloat16, "fp16": torch.float16}[precision] in products.dtypes
    for path, digest in kept[1::3]:
        changes = {"checkpoint": str(path), "checkpoint_sha256": digest, "attempt": 2, "device": "cuda:0"}
        resumed = order(tmp_path, case, spec=spec, **changes)
        report = run(resumed).report
        assert digests(resumed) == digests(whole)
        assert not any("full precision" in note for note in report.notes)


class Products(TorchDispatchMode):
    """Which dtypes convolutions give."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if operator._schema.name == "aten::convolution":
            self.dtypes.add(result.dtype)
        return result


class Wide(torch.nn.Module):
    """Needs 64 MB an example while it is trained, and next to nothing for its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(1, 64, 3, padding=1), torch.nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.nn.functional.interpolate(x, size=(256, 256))
        return self.fc(torch.relu(self.conv(wide)).mean((2, 3)))


def test_a_batch_that_does_not_fit_is_halved_and_the_job_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = images(1, 6, 6)
    case = Case(Wide().eval(), (x[:2],), {"x": x, "target": labels()})
    spec = {"recover": DIGITS | {"batch_size": 18}, "finalize": {"latency": None}}
    roomy = order(tmp_path, case, spec=spec, device="cuda:0")
    expected = run(roomy).report
    torch.cuda.empty_cache()
    room_bytes = torch.cuda.memory_reserved() + (400 << 20)
    torch.cuda.set_per_process_memory_fraction(room_bytes / torch.cuda.get_device_properties(0).total_memory)
    try:
        report = run(order(tmp_path, case, spec=spec, device="cuda:0")).report
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("parts of at most" in note for note in report.notes)
    assert not any("parts of at most" in note for note in expected.notes)
    assert report.metric.recovered == pytest.approx(expected.metric.recovered, abs=0.15)


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="there is no CUDA device of compute capability 8.0 or more here",
)
@pytest.mark.filterwarnings(f"ignore:{PROTOTYPE}")
@pytest.mark.parametrize("precision", ["as uploaded", "bf16", "fp16"])
def test_weights_of_2_in_4_run_on_the_kernels_that_skip_zeros(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    trained = precision != "as uploaded"
    dtype = torch.float32 if trained else torch.float16
    x = images(64).to(dtype)
    module = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, CLASSES)).to(dtype).eval()
    case = Case(module, (x[:2],), {"input": x, "target": labels()})
    recover = DIGITS | {"precision": precision} if trained else {"kind": "none"}
    spec = {"prune": {"target": {"kind": "n_m", "keep": 2, "of": 4}}, "recover": recover}
    wanted = order(tmp_path, case, spec=spec, device="cuda:0")
    report = run(wanted).report
    found = report.semi_structured
    assert found.autocast == (precision if trained else None)
    assert found.layers == ("0.weight",)
    assert found.holds
    assert found.metric == pytest.approx(report.metric.recovered, abs=0.1)
    assert all(row.device == torch.cuda.get_device_name() for row in found.latency)
    cast = DTYPES[precision] if trained else None
    program = packed_program(Path(wanted.folder) / "model.pt2", report)
    plain = move_to_device_pass(torch.export.load(Path(wanted.folder) / "model.pt2"), "cuda").module()
    with torch.inference_mode(), torch.autocast("cuda", cast, enabled=cast is not None):
        assert torch.allclose(program(x.cuda()), plain(x.cuda()), atol=2e-2, rtol=2e-2)
