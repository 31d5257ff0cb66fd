"""Whatever the spec allows to be combined runs: every pair of values of any two fields, in some whole job.

The values are read off the spec itself, so that a new one is tried by being there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from itertools import combinations, cycle, product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from secateur.forecast import forecast
from secateur.ids import new_id
from secateur.inspection import DatasetInspection, ModelInspection
from secateur.prunable import prunable
from secateur.report import Report
from secateur.spec import JobSpec
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.importance import UnitImportance, WeightImportance
from secateur.spec.prune import Prune
from secateur.spec.recover import Recover
from secateur.spec.schedule import Iterative
from secateur.spec.structured import Granularity, PruneUnits, StructuredTarget
from secateur.spec.training import Optimizer, Training
from secateur.spec.transforms import Transform
from secateur.spec.weights import PruneWeights, WeightTarget
from tests.worker.jobs import order, run
from tests.worker.networks import CLASSES, Case, images, labels
from worker.inspection import inspect_model
from worker.methods import timing
from worker.program.reader import read

Choice = Mapping[str, str]


class Mixed(nn.Module):
    """Channels, neurons and heads: a convolution before one encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 2, stride=2), nn.BatchNorm2d(16)
        self.block = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.relu(self.norm(self.stem(x))).flatten(2).transpose(1, 2)
        return self.head(self.block(tokens).mean(1))


def kinds(union: Any) -> list[str]:
    """Of a union that is told apart by `kind`."""
    return [member.model_fields["kind"].default for member in get_args(get_args(union)[0])]


def literals(record: Any, field: str) -> list[str]:
    """Of a field that is one of some texts."""
    return list(get_args(record.model_fields[field].annotation))


AMOUNTS: dict[str, dict[str, Any]] = {"n_m": {"keep": 1, "of": 4}, "sensitivity": {"amounts": [0.25, 0.5]}}
"""What a target takes that takes no amount."""
COMMON = {
    "schedule": ["one_shot", *literals(Iterative, "curve")],
    "recover": [*(kind for kind in kinds(Recover) if kind != "fine_tune"), *kinds(Optimizer)],
    "learned": ["labels", "labels_and_features", "outputs"],
}
TRANSFORMS: dict[str, dict[str, Any]] = {
    "normalize": {"mean": [0.1], "std": [0.5]},
    "resize": {"size": [8, 8]},
    "random_crop": {"padding": 1},
    "horizontal_flip": {},
}
WEIGHTS = {
    "granularity": ["weight"],
    "transform": kinds(Transform),
    "importance": kinds(WeightImportance),
    "scope": literals(PruneWeights, "scope"),
    "target": kinds(WeightTarget),
    "artifact": ["safetensors"],  # no graph changes, and to export one takes longer than all the rest of a job
    **COMMON,
}
UNITS = {
    "granularity": list(get_args(Granularity)),
    "importance": kinds(UnitImportance),
    "scope": literals(PruneUnits, "scope"),
    "target": [
        *(kind for kind in kinds(StructuredTarget) if kind != "max_accuracy_drop"),
        *(f"max_accuracy_drop {what}" for what in literals(MaxAccuracyDrop, "minimise")),
    ],
    "artifact": ["safetensors", "pt2"],
    **COMMON,
}
TRAINING = {field: literals(Training, field) for field in ("curve", "precision")}
"""What does not care how anything is pruned: each pair of these runs in some job, not with all that the others are."""


TUNED = {"kind": "fine_tune", "learning_rate": 0.01, "batch_size": 12, "epochs_per_round": 1, "epochs": 1}
FEATURES = ["relu_default", "layer_norm_default"]
WHOLE = {"batch_size": 12, "epochs": 2, "rewind_epoch": 1}
RECOVER = {
    "none": {"kind": "none"},
    "lottery_ticket": {"kind": "lottery_ticket", "learning_rate": 0.01, "controls": "last_round", **WHOLE},
    "retrain": {**TUNED, "kind": "retrain"},
    "learning_rate_rewind": {"kind": "learning_rate_rewind", "original_learning_rate": 0.01, **WHOLE},
    **{optimizer: {**TUNED, "optimizer": {"kind": optimizer}} for optimizer in kinds(Optimizer)},
}
"""What each way of training back needs beside its kind."""


def covering(fields: Mapping[str, Sequence[str]]) -> list[Choice]:
    """A few of all combinations in which every pair of values occurs that is allowed in any: the one that has most new
    pairs, until there is none."""
    every = [dict(zip(fields, values, strict=True)) for values in product(*fields.values())]
    pairs = {at: frozenset(combinations(choice.items(), 2)) for at, choice in enumerate(every) if allowed(choice)}
    missing = frozenset().union(*pairs.values())
    chosen = []
    while missing:
        fresh = {at: len(found & missing) for at, found in pairs.items()}
        pairs = {at: pairs[at] for at, count in fresh.items() if count}  # what has nothing new will have nothing later
        best = max(pairs, key=lambda at: fresh[at])
        chosen.append(every[best])
        missing -= pairs[best]
    return chosen


def trained(choices: Sequence[Choice]) -> list[Choice]:
    """The same, with the values of TRAINING dealt out among them."""
    dealt = cycle(dict(zip(TRAINING, values, strict=True)) for values in product(*TRAINING.values()))
    return [{**choice, **training} for choice, training in zip(choices, dealt, strict=False)]


PRUNE: TypeAdapter[Any] = TypeAdapter(Prune)


def allowed(choice: Choice) -> bool:
    """Whether the spec takes these values together; of what is learned only that without labels no slope is there."""
    if choice["learned"] == "outputs" and choice["importance"] in ("taylor", "snip", "movement"):
        return False
    return not trains_nothing(choice) and taken(*(choice[field] for field in PRUNED))


def trains_nothing(choice: Choice) -> bool:
    """Whether training is asked for where nothing is taken, which the spec refuses."""
    return choice["target"] == "sensitivity" and choice["recover"] != "none"


PRUNED = ("granularity", "importance", "scope", "target", "schedule")


@cache
def taken(*values: str) -> bool:
    """Whether the spec takes these values of PRUNED."""
    try:
        PRUNE.validate_python(pruning(dict(zip(PRUNED, values, strict=True))))
    except ValidationError:
        return False
    return True


def pruning(choice: Choice) -> dict[str, Any]:
    """The part of a job's fields that says what goes."""
    schedule = {"kind": "one_shot"} if choice["schedule"] == "one_shot" else {"kind": "iterative", "rounds": 2}
    if choice["schedule"] != "one_shot":
        schedule["curve"] = choice["schedule"]
    target, *minimise = choice["target"].split()
    return {
        "granularity": choice["granularity"],
        "importance": {"kind": choice["importance"]},
        "scope": choice["scope"],
        "target": {
            "kind": target,
            **AMOUNTS.get(target, {"amount": 0.2}),
            **({"minimise": minimise[0]} if minimise else {}),
        },
        "schedule": schedule,
    }


def spec(choice: Choice) -> dict[str, Any]:
    """The fields of a job."""
    learned, recover = choice["learned"], RECOVER[choice["recover"]]
    if learned != "labels" and recover["kind"] != "none":
        recover = recover | {"distill": {"features": FEATURES if learned == "labels_and_features" else []}}
    if learned != "labels" and recover["kind"] == "lottery_ticket":
        recover = recover | {"initial": new_id("mdl"), "rewind_epoch": 0}
    if choice["target"].startswith("max_accuracy_drop") and recover["kind"] == "lottery_ticket":
        recover = recover | {"controls": "none"}
    training = {} if recover["kind"] == "none" else {field: choice[field] for field in TRAINING}
    return {
        "task": {"kind": "distillation_only" if learned == "outputs" else "classification"},
        "prune": pruning(choice),
        "recover": recover | training,
        "finalize": {"artifacts": [choice["artifact"]], "latency": None},
    }


@cache
def case() -> Case:
    torch.manual_seed(0)
    x = images(1, 8, 8)
    return Case(Mixed().eval(), (x[:2],), {"x": x, "target": labels()}, dynamic=({0: torch.export.Dim("batch")},))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model and data, which all jobs have in common."""
    folder = tmp_path_factory.mktemp("files")
    order(folder, case())
    return folder


@pytest.fixture(scope="module")
def known(files: Path) -> ModelInspection:
    """What the door knows of the model."""
    return inspect_model(read(files / "upload.pt2"))


def titled(choice: Choice) -> str:
    return " ".join(choice.values())


def initial(choice: Choice, files: Path) -> str | None:
    """Where the initialisation of a lottery ticket is whose dense network is a teacher, and so is trained already."""
    recover = spec(choice)["recover"]
    return str(files / "upload.pt2") if "initial" in recover else None


@pytest.mark.parametrize("choice", trained(covering(WEIGHTS)), ids=titled)
def test_weights(choice: Choice, files: Path, known: ModelInspection) -> None:
    transform = {"kind": choice["transform"], **TRANSFORMS[choice["transform"]]}
    of_data = {"transforms": [transform]}
    wanted = order(files, case(), spec=spec(choice), of_data=of_data, initial=initial(choice, files))
    report = run(wanted).report
    told = foreseen(wanted.spec, known)
    assert_measured(report)
    if wanted.spec.prune.measures:
        return
    assert report.sparsity.zeros == told.zeros or (told.estimate and report.budget is not None)
    assert (report.budget is not None) == (choice["target"] == "max_accuracy_drop")
    assert (report.n_m is not None) == (choice["target"] == "n_m")
    if report.n_m is not None:
        assert max(layer.fullest for layer in report.n_m.layers) == report.n_m.keep == 1
    network = deepcopy(case().module)
    network.load_state_dict(load_file(Path(wanted.folder) / "model.safetensors"), strict=True)
    assert_runs(network)


@pytest.mark.parametrize("choice", trained(covering(UNITS)), ids=titled)
def test_units(choice: Choice, files: Path, known: ModelInspection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST", timing.FEWEST)
    wanted = order(files, case(), spec=spec(choice), initial=initial(choice, files))
    report = run(wanted).report
    assert report.proof is not None
    assert report.proof.holds
    told = foreseen(wanted.spec, known)
    assert_measured(report)
    if wanted.spec.prune.measures:
        return
    if not told.estimate:
        assert (told.macs.after, told.parameters.after) == (report.macs.pruned, report.size.parameters)
    assert (report.predicted_latency is not None) == ("latency" in choice["target"])
    folder = Path(wanted.folder)
    if choice["artifact"] == "pt2":
        assert_runs(torch.export.load(folder / "model.pt2").module())
    else:
        state = load_file(folder / "model.safetensors")
        assert state.keys() == case().module.state_dict().keys()
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())
        learnt = (state[name].numel() for name, _ in case().module.named_parameters())
        assert sum(learnt) == report.size.parameters


def foreseen(wanted: JobSpec, known: ModelInspection) -> Any:
    """What the door says before the job, which it lets in."""
    assert not list(prunable(wanted.prune, known))
    examples = DatasetInspection.model_construct(examples=24)
    return forecast(wanted, known, {wanted.data.train: examples})


def assert_measured(report: Report) -> None:
    """Of every layer or group that can be pruned there is a curve, where one was needed."""
    prune = report.provenance.spec.prune
    assert (report.sensitivity is not None) == prune.needs_sensitivity
    if report.sensitivity is None:
        return
    parts = (
        [unit.group for unit in report.units]
        if report.sparsity is None
        else [each.name for each in report.sparsity.layers]
    )
    assert [curve.name for curve in report.sensitivity.curves] == parts


def assert_runs(network: nn.Module) -> None:
    scores = network(case().arrays["x"][:5])
    assert scores.shape == (5, CLASSES)
    assert bool(scores.isfinite().all())
