"""Whole jobs whose importance looks at data: what goes is what plain autograd says, and any checkpoint will do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from secateur.errors import OutOfMemory
from secateur.report import Report
from secateur.spec import JobSpec
from secateur.spec.importance import Taylor, Wanda
from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.networks import CASES, CLASSES, Case, images, labels
from worker import pipeline
from worker.bench import Bench, lay_out
from worker.methods import gathering
from worker.methods.anatomy import Anatomy
from worker.methods.gathering import Gathering
from worker.order import AnyMessage, Checkpointed
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.cut import Cut
from worker.pruning.units.units import find_units
from worker.recovery import running, slopes
from worker.recovery.calibration import Calibration
from worker.recovery.order import permutation

EXAMPLES = 18  # of 24, a quarter of which are set aside


class Chain(nn.Module):
    """Eight channels, a branch of six, and a decision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.down(torch.relu(self.norm(self.stem(x))))).mean((2, 3)))


@pytest.fixture
def chain() -> Case:
    torch.manual_seed(0)
    x, network = images(1, 6, 6), Chain()
    network(x)  # or every running mean is 0 and every variance 1
    batch = torch.export.Dim("batch", min=1, max=64)
    return Case(network.eval(), (x[:2],), {"x": x, "target": labels()}, dynamic=({0: batch},))


def spec(importance: dict[str, Any], recover: dict[str, Any] | None = None, **prune: Any) -> dict[str, Any]:
    asked = {"target": {"kind": "sparsity", "amount": 0.6}, "schedule": {"kind": "iterative", "rounds": 2}}
    training = {"kind": "fine_tune", "learning_rate": 0.05, "batch_size": 6, "epochs_per_round": 1, "epochs": 1}
    return {
        "prune": {**asked, "importance": importance, **prune},
        "recover": training if recover is None else recover,
        "finalize": {"artifacts": ["pt2", "safetensors"], "latency": None},
    }


UNITS: dict[str, Any] = {"granularity": "unit", "target": {"kind": "units", "amount": 0.5}}


@pytest.mark.parametrize(
    ("importance", "prune"),
    [
        ({"kind": "taylor", "batches": 2}, {"scope": "row"}),
        ({"kind": "movement", "batches": 3}, {}),
        ({"kind": "taylor", "batches": 2}, UNITS),
    ],
    ids=lambda given: given.get("granularity", given.get("kind", "weights")),
)
def test_a_job_resumed_from_any_checkpoint_writes_the_same_bytes(
    importance: dict[str, Any], prune: dict[str, Any], chain: Case, tmp_path: Path
) -> None:
    """At-once pruning, which looks at the dense network, is done by the first attempt alone."""
    wanted = spec(importance, **prune)
    whole = order(tmp_path, chain, spec=wanted, checkpoint_every_s=1e-6)

    kept = checkpoints(whole, tmp_path)

    assert len(kept) == 2 + 2 * 3
    for path, digest in (kept[1], kept[5]):
        resumed = order(tmp_path, chain, spec=wanted, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        run(resumed)
        assert digests(resumed) == digests(whole)


@pytest.mark.parametrize(
    ("recover", "passes"),
    [(None, 2), ({"kind": "lottery_ticket", "learning_rate": 0.05, "batch_size": 6, "epochs": 1}, 4)],
    ids=["fine_tune", "lottery_ticket"],
)
def test_what_is_seen_of_the_upload_is_gathered_once(
    recover: dict[str, Any] | None, passes: int, chain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Load, at-once pruning and the first of two rounds see the same, unless the job trains the network before."""
    calls: list[int] = []
    of_units = Gathering.of_units

    def counted(self: Gathering, anatomy: Anatomy, program: Program, cut: Cut, number: int) -> Tensor | None:
        calls.append(number)
        return of_units(self, anatomy, program, cut, number)

    monkeypatch.setattr(Gathering, "of_units", counted)
    wanted = spec({"kind": "taylor", "batches": 2}, recover, **UNITS)
    once = order(tmp_path, chain, spec=wanted)
    first = run(once).report
    assert len(calls) == passes
    assert calls[-1] == 2

    monkeypatch.setattr(JobSpec, "trains_dense", property(lambda spec: True))
    anew = order(tmp_path, chain, spec=wanted)
    assert run(anew).report.metric == first.metric
    assert len(calls) == passes + 4
    assert digests(anew) == digests(once)


@pytest.mark.parametrize(
    ("importance", "prune"),
    [({"kind": "taylor", "batches": 3}, {}), ({"kind": "wanda", "batches": 3}, {}), ({"kind": "snip"}, UNITS)],
    ids=["taylor", "wanda", "units"],
)
def test_a_pause_comes_between_two_batches_and_the_job_ends_the_same(
    importance: dict[str, Any], prune: dict[str, Any], chain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(importance, **prune)
    whole = order(tmp_path, chain, spec=wanted)
    run(whole)
    drawn, asked, said = Calibration.drawn, list[int](), list[AnyMessage]()

    def second_round(calibration: Calibration, number: int) -> Iterator[Any]:
        for batch in drawn(calibration, number):
            asked.extend([number] if number == 2 else [])
            yield batch

    monkeypatch.setattr(Calibration, "drawn", second_round)
    paused = order(tmp_path, chain, spec=wanted)

    assert pipeline.run(paused, said.append, lambda: bool(asked)) is None

    assert asked == [2], "more batches were read"
    monkeypatch.undo()
    saved = [message for message in said if isinstance(message, Checkpointed)][-1]
    changes = {"checkpoint": str(Path(paused.folder) / saved.name), "checkpoint_sha256": saved.sha256, "attempt": 2}
    resumed = order(tmp_path, chain, spec=wanted, **changes)
    run(resumed)
    assert digests(resumed) == digests(whole)


@pytest.mark.parametrize("kind", ["taylor", "wanda"])
def test_a_job_gathers_with_less_when_the_memory_is_not_enough(
    kind: str, chain: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, known = one_shot({"kind": kind}, chain, tmp_path)

    def little(program: Any, inputs: Any, device: torch.device) -> Any:
        if len(inputs[0]) > 5:
            raise OutOfMemory
        return running.run(program, inputs, device)

    for module in (gathering, slopes):
        monkeypatch.setattr(module, "run", little)
    report, state = one_shot({"kind": kind}, chain, tmp_path)
    assert all(torch.equal(state[name] == 0, tensor == 0) for name, tensor in known.items())
    told = [note for note in report.notes if "gather the importance" in note]
    assert ["on 18 examples" in told[0], "at most 5" in told[1], len(told)] == [True, True, 2]
    assert report.calibration == expected.calibration


def one_shot(importance: dict[str, Any], case: Case, folder: Path, **prune: Any) -> tuple[Report, dict[str, Tensor]]:
    """Report and weights of a job without training."""
    wanted = spec(importance, {"kind": "none"}, schedule={"kind": "one_shot"}, **prune)
    done = order(folder, case, spec={**wanted, "finalize": {"artifacts": ["safetensors"], "latency": None}})
    return run(done).report, load_file(Path(done.folder) / "model.safetensors")


def test_the_weights_that_go_are_those_that_autograd_says(chain: Case, tmp_path: Path) -> None:
    """One round of Taylor within each layer, on all 18 examples of the training split in one batch."""
    report, state = one_shot({"kind": "taylor"}, chain, tmp_path, scope="layer")
    inputs, target = examples(laid_out(tmp_path, chain), slice(None))
    functional.cross_entropy(chain.module(inputs), target).backward()
    for name in ("stem.weight", "down.weight", "head.weight"):
        weight = chain.module.get_parameter(name)
        scores = (weight.grad * weight.detach()).square().flatten()
        gone = scores.argsort()[: round(0.6 * len(scores))]
        assert sorted((state[name].flatten() == 0).nonzero().flatten().tolist()) == sorted(gone.tolist())
    assert report.calibration is not None
    assert report.calibration.model_dump() == {"kind": "taylor", "batches": 1, "examples": EXAMPLES}
    assert report.metric.one_shot == report.metric.pruned == report.metric.recovered


def laid_out(folder: Path, case: Case, **changes: Any) -> Bench:
    wanted = order(folder, case, spec=spec({"kind": "l1"}, **changes))
    program = read(folder / "upload.pt2")
    return lay_out(wanted, inspect(program), program)


def examples(bench: Bench, part: slice) -> tuple[Tensor, Tensor]:
    """Some of those of the first round."""
    (inputs,), target = bench.train.batch(permutation(EXAMPLES, 0, 1)[part])
    return inputs, target


@pytest.mark.parametrize("gone", [{}, {"stem.weight": frozenset({0, 5}), "down.weight": frozenset({2})}])
def test_the_effect_of_a_unit_is_the_sum_over_all_that_goes_with_it(
    gone: dict[str, frozenset[int]], chain: Case, tmp_path: Path
) -> None:
    """Molchanov et al. 2019 for groups: of a network as uploaded, and of what a round before has left."""
    bench = laid_out(tmp_path, chain)
    anatomy = Anatomy(read(tmp_path / "upload.pt2"))
    cut = anatomy.cut(gone)
    small = anatomy.operated(cut)
    found = Gathering(Taylor(batches=3), bench, print).of_units(anatomy, small, cut, 1)
    assert found is not None
    module, squares = chain.module, {"stem.weight": torch.zeros(8), "down.weight": torch.zeros(6)}
    with torch.no_grad():
        for name, indices in gone.items():
            for tensor in module.get_submodule(name.split(".")[0]).parameters():
                tensor[list(indices)] = 0
        for tensor in module.norm.parameters() if gone else ():
            tensor[list(gone["stem.weight"])] = 0
    for part in (slice(0, 6), slice(6, 12), slice(12, 18)):
        module.zero_grad()
        inputs, target = examples(bench, part)
        functional.cross_entropy(module(inputs), target).backward()
        own = {name: tensor.grad * tensor.detach() for name, tensor in module.named_parameters()}
        stem = own["stem.weight"].sum((1, 2, 3)) + own["stem.bias"] + own["norm.weight"] + own["norm.bias"]
        squares["stem.weight"] += (stem + own["down.weight"].sum((0, 2, 3))).square() / 3
        down = own["down.weight"].sum((1, 2, 3)) + own["down.bias"] + own["head.weight"].sum(0)
        squares["down.weight"] += down.square() / 3
    for group in find_units(anatomy.labelling).groups:
        torch.testing.assert_close(found[group.labels].float(), squares[group.name], rtol=1e-3, atol=1e-9)
        assert not found[group.labels[list(gone.get(group.name, ()))]].any()


def test_gathering_leaves_a_program_as_it_was(chain: Case, tmp_path: Path) -> None:
    bench = laid_out(tmp_path, chain)
    for importance in (Taylor(), Wanda()):
        program = read(tmp_path / "upload.pt2")
        before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
        Gathering(importance, bench, print).of_weights(program, {}, ["down.weight"], 1)
        assert all(torch.equal(tensor, before[name]) for name, tensor in program.module.state_dict().items())


class Spare(nn.Module):
    """The second output needs a layer that the first does not."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scores, self.spare = nn.Linear(6, 8), nn.Linear(8, CLASSES), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.body(x))
        return {"scores": self.scores(hidden), "spare": self.spare(hidden)}


@pytest.mark.parametrize("kind", ["taylor", "movement"])
def test_weights_that_the_loss_does_not_depend_on_are_named(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = images(6)
    case = Case(Spare().eval(), (x[:2],), {"x": x, "target": labels()}, output="scores")
    report, state = one_shot({"kind": kind}, case, tmp_path)
    assert [note for note in report.notes if "count for nothing" in note and "spare.weight" in note]
    if kind == "taylor":
        assert not state["spare.weight"].any()


def test_masks_that_arrive_stay_while_a_network_is_moved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = CASES["torch's pruning attached"]()
    report, state = one_shot({"kind": "movement", "learning_rate": 0.5}, replace(case), tmp_path)
    assert report.sparsity is not None
    assert report.sparsity.zeros == round(0.6 * report.sparsity.total)
    for name in ("conv.weight", "fc.weight"):
        assert not state[name][~case.module.state_dict()[f"{name}_mask"].bool()].any()
