"""Whole N:M jobs: the pattern holds in what is handed over, through training and resuming, and is what was foreseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from secateur.errors import NothingPrunable, ProofFailed
from secateur.forecast import forecast
from secateur.inspection import DatasetInspection
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CASES, Case
from worker.inspection import inspect_model
from worker.methods import masking
from worker.program.reader import read


def blocks(keep: int, of: int, rounds: int = 2, **fields: Any) -> dict[str, Any]:
    schedule = {"kind": "iterative", "rounds": rounds, "curve": "linear"}
    return {"prune": {"target": {"kind": "n_m", "keep": keep, "of": of}, "schedule": schedule, **fields}}


@pytest.fixture
def plain() -> Case:
    """A convolution of one channel, shorter than any block, and a linear layer of 216 inputs and 4 outputs."""
    torch.manual_seed(0)
    return CASES["flatten, fixed batch"]()


@pytest.mark.parametrize(("keep", "of"), [(2, 4), (5, 11)])
def test_every_block_holds_and_the_rest_is_whole(keep: int, of: int, plain: Case, tmp_path: Path) -> None:
    wanted = order(tmp_path, plain, spec=blocks(keep, of))
    report = run(wanted).report
    state = load_file(Path(wanted.folder) / "model.safetensors")
    runs = state["fc.weight"][:, : 216 // of * of].unflatten(1, (-1, of))
    assert bool((runs.count_nonzero(-1) == keep).all())
    assert bool(state["fc.weight"][:, 216 // of * of :].all())
    assert bool(state["conv.weight"].all())
    conv, fc = report.n_m.layers
    assert (report.n_m.keep, report.n_m.of, report.n_m.holds) == (keep, of, True)
    assert (conv.name, conv.axis, conv.blocks, conv.remainder, conv.fullest) == ("conv.weight", 1, 0, 54, 0)
    assert (fc.axis, fc.blocks, fc.remainder, fc.fullest) == (1, 4 * (216 // of), 4 * (216 % of), keep)
    assert any("lose nothing: conv.weight" in note for note in report.notes)
    assert any("no speed-up here, on cpu" in note for note in report.notes)


def test_the_door_foresees_it_and_every_round_takes_as_many_of_each_block(plain: Case, tmp_path: Path) -> None:
    wanted = order(tmp_path, plain, spec=blocks(1, 4, rounds=3))
    known = inspect_model(read(tmp_path / "upload.pt2"))
    told = forecast(wanted.spec, known, {wanted.spec.data.train: DatasetInspection.model_construct(examples=24)})
    report = run(wanted).report
    assert (told.zeros, told.estimate, told.left_whole) == (4 * 54 * 3, False, ("conv.weight",))
    assert report.sparsity.zeros == told.zeros
    assert [round(each.sparsity * report.sparsity.total) for each in report.rounds] == [216, 432, 648]


def test_masks_that_arrive_count_first_and_the_forecast_is_a_bound(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["torch's pruning attached"]()
    wanted = order(tmp_path, case, spec=blocks(3, 4))
    known = inspect_model(read(tmp_path / "upload.pt2"))
    told = forecast(wanted.spec, known, {wanted.spec.data.train: DatasetInspection.model_construct(examples=24)})
    run(wanted)
    weight = load_file(Path(wanted.folder) / "model.safetensors")["fc.weight"]
    masked = case.module.get_submodule("fc").weight_mask == 0
    zeros = masked.unflatten(1, (-1, 4)).sum(-1).clamp(min=1)
    assert torch.equal((weight == 0).unflatten(1, (-1, 4)).sum(-1), zeros)
    assert not weight[masked].any()
    conv_zeros = next(layer.zeros for layer in known.layers if layer.name == "conv.weight")
    assert told.estimate
    assert told.zeros - conv_zeros <= int(zeros.sum())


@pytest.mark.parametrize("reset", [True, False])
def test_a_resumed_job_writes_the_same_bytes(reset: bool, plain: Case, tmp_path: Path) -> None:
    recover = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 6, "epochs_per_round": 1, "epochs": 1}
    spec = blocks(2, 4) | {"recover": recover | {"reset_optimizer": reset}}
    whole = order(tmp_path, plain, spec=spec, checkpoint_every_s=1e-6)
    kept = checkpoints(whole, tmp_path)
    for path, digest in kept[1::3]:
        resumed = order(tmp_path, plain, spec=spec, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        report = run(resumed).report
        assert digests(resumed) == digests(whole)
        assert sum("no speed-up here" in note for note in report.notes) == 1


def test_a_block_that_holds_too_much_fails_the_job(
    plain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = masking.select

    def sabotaged(*given: Any, **options: Any) -> dict[str, torch.Tensor]:
        masks = chosen(*given, **options)
        masks["fc.weight"][3, 4:8] = True
        return masks

    monkeypatch.setattr(masking, "select", sabotaged)
    with pytest.raises(ProofFailed, match=r"More than 2 of 4 weights are left in blocks of fc.weight") as failed:
        run(order(tmp_path, plain, spec=blocks(2, 4)))
    assert failed.value.context["proof"]["layers"][1]["fullest"] == 4


def test_a_job_without_any_block_is_refused_by_the_worker_too(plain: Case, tmp_path: Path) -> None:
    with pytest.raises(NothingPrunable, match="None of the 1 chosen layers has a block of 2"):
        run(order(tmp_path, plain, spec=blocks(1, 2, layers={"include": ["conv.*"]})))


def test_what_is_tied_and_half_precision_hold_too(tmp_path: Path) -> None:
    for name, expected in (
        ("tied weights", {"embed.weight": 1, "mix.weight": 1}),
        ("half precision", {"fc.weight": 1}),
    ):
        torch.manual_seed(0)
        folder = tmp_path / name
        folder.mkdir()
        report = run(order(folder, CASES[name](), spec=blocks(2, 4))).report
        assert {layer.name: layer.axis for layer in report.n_m.layers if layer.blocks} == expected
