"""The whole work of a job, in this process: any file goes in, a pruned one that stock torch loads comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex
from torchmetrics.text import Perplexity

from secateur.ids import new_id
from secateur.report import finite
from tests.worker.jobs import LIMITS, checkpoints, digests, order, run
from tests.worker.networks import CASES, CLASSES, TASKS, Case, images, labels
from worker import pipeline
from worker.inspection import look
from worker.order import MESSAGE, Checkpointed, InspectionOrder

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def plain() -> Case:
    torch.manual_seed(0)
    return CASES["flatten, fixed batch"]()


@pytest.mark.parametrize("name", CASES)
def test_any_file_runs_the_whole_job(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES[name]()
    wanted = order(tmp_path, case)

    report = run(wanted).report

    assert report.sparsity.zeros == round(0.6 * report.sparsity.total)
    assert len(report.rounds) == 2
    stock = torch.export.load(Path(wanted.folder) / "model.pt2")
    state = load_file(Path(wanted.folder) / "model.safetensors")
    for layer in report.sparsity.layers:
        weight = stock.state_dict[layer.name]
        assert int((weight == 0).sum()) == layer.zeros
        assert weight.dtype == case.module.state_dict().get(layer.name, weight).dtype
        if layer.name in state:
            assert torch.equal(weight, state[layer.name])
    stock.module()(*(value[:3] for key, value in case.arrays.items() if key != "target"))


def test_the_report_says_what_stock_torch_measures(plain: Case, tmp_path: Path) -> None:
    wanted = order(tmp_path, plain)
    metric = run(wanted).report.metric

    def accuracy(path: Path) -> float:
        scores = torch.export.load(path).module()
        rows = [scores(plain.arrays["x"][i : i + 2]).argmax(1) for i in range(0, 24, 2)]
        return float((torch.cat(rows) == plain.arrays["target"]).float().mean())

    assert metric.on == "test"
    assert metric.recovered == pytest.approx(accuracy(Path(wanted.folder) / "model.pt2"))
    assert metric.dense == pytest.approx(accuracy(tmp_path / "upload.pt2"))


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_is_trained_and_judged(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = TASKS[kind]()
    recovery = {
        "kind": "fine_tune",
        "learning_rate": 0.02,
        "batch_size": 8,
        "epochs": 4,
        "optimizer": {"kind": "adamw"},
    }
    prune = {"target": {"kind": "sparsity", "amount": 0.3}, "schedule": {"kind": "one_shot"}}
    wanted = order(tmp_path, case, spec={"recover": recovery, "prune": prune, "finalize": {"latency": None}})

    metric = run(wanted).report.metric

    assert metric.name == METRICS[kind]
    better = metric.recovered - metric.pruned if metric.higher_is_better else metric.pruned - metric.recovered
    assert better > 0
    assert metric.standard_error > 0
    labels = case.arrays["target"][:, 1:] if kind == "causal_lm" else case.arrays["target"]
    assert metric.examples == int(((labels != -100) & (labels != 255)).sum())
    inputs = [array for name, array in case.arrays.items() if name != "target"]
    scores = torch.export.load(Path(wanted.folder) / "model.pt2").module()(*inputs)
    assert metric.recovered == pytest.approx(measured(kind, scores, case.arrays["target"].long()), rel=1e-4)


METRICS = {
    "causal_lm": "perplexity",
    "masked_lm": "perplexity",
    "token_classification": "macro_f1",
    "segmentation": "mean_iou",
}


def measured(kind: str, scores: torch.Tensor, target: torch.Tensor) -> float:
    """The metric by torchmetrics."""
    if kind == "causal_lm":
        return Perplexity(ignore_index=-100)(scores[:, :-1], target[:, 1:]).item()
    if kind == "masked_lm":
        return Perplexity(ignore_index=-100)(scores, target).item()
    if kind == "token_classification":
        return MulticlassF1Score(CLASSES, ignore_index=-100)(scores.flatten(0, 1), target.flatten()).item()
    return MulticlassJaccardIndex(CLASSES, ignore_index=255)(scores, target).item()


def test_two_runs_write_the_same_bytes(plain: Case, tmp_path: Path) -> None:
    first, second = order(tmp_path, plain), order(tmp_path, plain)
    run(first)
    run(second)
    assert digests(first) == digests(second)


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("torch-*.pt2")), ids=lambda path: path.stem)
def test_a_file_of_every_version_of_torch_runs_the_whole_job(file: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "upload.pt2").write_bytes(file.read_bytes())
    case = Case(
        torch.nn.Identity(),
        (),
        {"image": images(1, 4, 4), "word": labels() % 5, "target": labels()},
        output="logits",
    )
    save_file(case.arrays, tmp_path / "train.safetensors")
    wanted = order(tmp_path, case)

    report = run(wanted).report

    assert report.sparsity.zeros == round(0.6 * report.sparsity.total)
    stock = torch.export.load(Path(wanted.folder) / "model.pt2").module()
    assert stock(case.arrays["image"][:3], case.arrays["word"][:3])["logits"].shape == (3, 5)


def test_masks_that_arrive_on_what_is_not_chosen_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["masks on what is not chosen"]()
    wanted = order(tmp_path, case)
    run(wanted)
    state = load_file(Path(wanted.folder) / "model.safetensors")
    for name in ("conv.weight", "fc.bias"):
        kept = case.module.state_dict()[f"{name}_mask"].bool()
        assert not state[name][~kept].any(), name
        assert state[name][kept].any(), name


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_without_its_checkpoint_a_job_begins_again_and_says_so(plain: Case, tmp_path: Path, damage: str) -> None:
    whole = order(tmp_path, plain)
    run(whole)
    path = tmp_path / "checkpoint.safetensors"
    if damage == "changed":
        path.write_bytes(b"not what was written")
    again = order(tmp_path, plain, checkpoint=str(path), checkpoint_sha256="0" * 64, attempt=2)
    report = run(again).report
    assert digests(again) == digests(whole)
    assert any("began again" in note for note in report.notes)


def test_the_report_crosses_the_line_with_numbers_that_are_not_finite(plain: Case, tmp_path: Path) -> None:
    finished = run(order(tmp_path, plain))
    metric = finished.report.metric.model_copy(update={"one_shot": finite(float("inf"))})
    sent = finished.model_copy(update={"report": finished.report.model_copy(update={"metric": metric})})
    assert MESSAGE.validate_json(sent.model_dump_json()) == sent


def test_a_batch_size_that_cannot_be_timed_is_a_note(plain: Case, tmp_path: Path) -> None:
    inputs = torch.export.Dim("batch", min=1, max=8)
    case = Case(plain.module, plain.inputs, plain.arrays, dynamic={"x": {0: inputs}})
    spec = {"finalize": {"latency": {"batch_sizes": [2, 32], "runs": 3}}}
    report = run(order(tmp_path, case, spec=spec)).report
    assert [row.batch for row in report.latency] == [2]
    assert any("batch size 32" in note for note in report.notes)


@pytest.mark.parametrize("recover", ["fine_tune", "none"])
@pytest.mark.parametrize("reset", [True, False])
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(
    plain: Case, tmp_path: Path, recover: str, reset: bool
) -> None:
    recovery = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 4, "epochs_per_round": 2, "epochs": 2}
    spec = {"recover": recovery | {"reset_optimizer": reset} if recover == "fine_tune" else {"kind": "none"}}
    whole = order(tmp_path, plain, spec=spec, checkpoint_every_s=1e-6)

    kept = checkpoints(whole, tmp_path)

    assert len(kept) == (2 if recover == "none" else 2 + 2 * 2 * 5)
    for path, digest in kept[:: 1 if recover == "none" else 5]:
        resumed = order(tmp_path, plain, spec=spec, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)


@pytest.mark.parametrize("curve", [{"curve": "one_cycle"}, {"curve": "step", "warmup_steps": 3}])
def test_a_job_with_steps_of_several_batches_resumes_between_them(
    plain: Case, tmp_path: Path, curve: dict[str, str | int]
) -> None:
    options = {"batch_size": 4, "accumulate": 2, "clip_norm": 0.1, "label_smoothing": 0.1, **curve}
    recovery = {"kind": "fine_tune", "learning_rate": 0.01, "epochs_per_round": 1, "epochs": 2, **options}
    spec = {"recover": recovery}
    whole = order(tmp_path, plain, spec=spec, checkpoint_every_s=1e-6)

    kept = checkpoints(whole, tmp_path)

    assert len(kept) == 2 + 3 * 3  # 18 examples: 5 batches, the last step of an epoch has one
    for path, digest in kept[1::3]:
        resumed = order(tmp_path, plain, spec=spec, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)


def test_a_job_with_random_transforms_resumes_between_steps_and_between_rounds(plain: Case, tmp_path: Path) -> None:
    transforms = [
        {"kind": "resize", "size": [7, 7]},
        {"kind": "random_crop", "size": [6, 6], "padding": 1},
        {"kind": "horizontal_flip"},
        {"kind": "normalize", "mean": [0.2], "std": [0.5]},
    ]
    recovery = {"kind": "fine_tune", "learning_rate": 0.01, "epochs_per_round": 1, "epochs": 2, "batch_size": 8}
    asked = {"spec": {"recover": recovery}, "of_data": {"transforms": transforms}}
    whole = order(tmp_path, plain, **asked, checkpoint_every_s=1e-6)

    kept = checkpoints(whole, tmp_path)

    for path, digest in kept[1::3]:
        resumed = order(tmp_path, plain, **asked, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)
    unflipped = order(tmp_path, plain, spec=asked["spec"], of_data={"transforms": [*transforms[:2], transforms[3]]})
    run(unflipped)
    assert digests(unflipped) != digests(whole)


def test_a_paused_job_leaves_a_checkpoint_that_ends_the_same(plain: Case, tmp_path: Path) -> None:
    whole = order(tmp_path, plain)
    run(whole)
    paused, said = order(tmp_path, plain), []

    assert pipeline.run(paused, said.append, lambda: len(said) > 8) is None

    saved = [message for message in said if isinstance(message, Checkpointed)][-1]
    resumed = order(tmp_path, plain, checkpoint=str(Path(paused.folder) / saved.name), checkpoint_sha256=saved.sha256)
    run(resumed)
    assert digests(resumed) == digests(whole)


def test_the_checkpoint_artifact_loads_into_the_module_under_torch_prune(plain: Case, tmp_path: Path) -> None:
    wanted = order(tmp_path, plain)
    run(wanted)
    saved = load_file(Path(wanted.folder) / "checkpoint.safetensors")
    for name in ("conv", "fc"):
        torch.nn.utils.prune.identity(plain.module.get_submodule(name), "weight")
    plain.module.load_state_dict(saved, strict=True)
    final = load_file(Path(wanted.folder) / "model.safetensors")
    plain.module(plain.inputs[0])
    assert torch.equal(plain.module.get_submodule("fc").weight, final["fc.weight"])


def test_a_data_set_is_looked_into_as_it_is(plain: Case, tmp_path: Path) -> None:
    wanted = order(tmp_path, plain)
    path = next(iter(wanted.data.values()))
    seen = look(
        InspectionOrder(
            id=new_id("dst"), noun="dataset", path=path, folder=wanted.folder, data_bytes=1 << 30, limits=LIMITS
        )
    ).inspection
    assert seen.kind == "dataset"
    assert seen.examples == 24
