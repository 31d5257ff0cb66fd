"""What has to hold on a CUDA device. Where there is none these are listed, by name, as not run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.worker.jobs import checkpoints, digests, export, order, run
from tests.worker.networks import CASES
from worker.program.reader import read

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
