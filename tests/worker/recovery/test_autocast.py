"""Training in mixed precision: torch's own loop under autocast, and scores in full precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.errors import JobFailed
from secateur.inspection import TensorInfo
from secateur.spec.recover import FineTune
from secateur.spec.task import Classification
from secateur.spec.training import Sgd
from worker.program.reader import read
from worker.recovery.autocast import autocast_dtype
from worker.recovery.course import Course
from worker.recovery.data import Dataset
from worker.recovery.objective import Score, objective_for
from worker.recovery.order import permutation
from worker.recovery.state import TrainState
from worker.recovery.train import Moment, fine_tune

CPU = torch.device("cpu")
OBJECTIVE = objective_for(Classification(), [TensorInfo(name="0", dtype="float32", shape=("batch", 3))])
PRUNED = Score(value=0.0, examples=40, standard_error=0.1, loss=2.0)
PRODUCTS = ("aten::addmm", "aten::convolution", "aten::convolution_backward", "aten::mm")


class Watching(TorchDispatchMode):
    """Which dtypes the products give, by what is going on."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "training"
        self.seen: dict[str, set[torch.dtype]] = {"training": set(), "evaluation": set()}

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if operator._schema.name in PRODUCTS:
            tensors = result if isinstance(result, tuple) else (result,)
            self.seen[self.phase] |= {tensor.dtype for tensor in tensors if tensor is not None}
        return result


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    return nn.Sequential(*layers).to(dtype)


@pytest.fixture
def course(make_dataset: Callable[..., Dataset]) -> Callable[..., Course]:
    def make(dtype: torch.dtype = torch.float32, notes: list[str] | None = None, **recipe: Any) -> Course:
        x = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        data = make_dataset(x, (x.mean(dim=(1, 2, 3)) * 30).round().clamp(-1, 1).long() + 1, dtype).all()
        plain = Sgd(momentum=0, nesterov=False, weight_decay=0)
        spec = FineTune(**{"learning_rate": 0.05, "batch_size": 20, "optimizer": plain, "curve": "constant", **recipe})
        return Course(data, data, OBJECTIVE, spec, 7, CPU, note=([] if notes is None else notes).append)

    return make


def test_an_exported_program_multiplies_in_bf16_while_it_is_trained_and_only_then(
    tmp_path: Path, course: Callable[..., Course], guarding: Any
) -> None:
    batch = {0: torch.export.Dim("batch", max=64)}
    path = tmp_path / "model.pt2"
    sample = torch.randn(4, 1, 8, 8)
    torch.export.save(torch.export.export(network().eval(), (sample,), dynamic_shapes=(batch,)), path)
    on = course(precision="bf16")

    def turn(moment: Moment) -> None:
        watch.phase = "training" if moment.step < on.steps() else "evaluation"

    with Watching() as watch:
        program = read(path)
        fine_tune(program, on, guarding({}), 0, 1, pruned=PRUNED, on_step=turn)
    assert watch.seen == {"training": {torch.bfloat16}, "evaluation": {torch.float32}}
    assert {parameter.dtype for _, parameter in program.named_parameters()} == {torch.float32}


def test_it_is_torchs_loop_under_autocast_bit_for_bit(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    ours, theirs, full = network(), network(), network()
    fine_tune(program_of(ours), course(precision="bf16"), guarding({}), 0, 1, pruned=PRUNED)
    fine_tune(program_of(full), course(), guarding({}), 0, 1, pruned=PRUNED)
    (x,), y = course().train.batch(permutation(40, 7, 0, 1))
    optimizer = torch.optim.SGD(theirs.parameters(), 0.05)
    for rows in (slice(0, 20), slice(20, 40)):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(theirs(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert not torch.equal(full.state_dict()["4.weight"], ours.state_dict()["4.weight"])


def test_a_killed_round_ends_like_an_undisturbed_one(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    undisturbed, resumed = network(), network()
    states: list[TrainState] = []

    def keep(moment: Moment) -> None:
        state = moment.state()
        states.append(TrainState({name: tensor.clone() for name, tensor in state.tensors.items()}, state.facts))

    on = course(precision="bf16", optimizer=Sgd())
    fine_tune(program_of(undisturbed), on, guarding({}), 0, 2, on_step=keep)
    fine_tune(program_of(resumed), on, guarding({}), 0, 2, states[2])
    for name, tensor in resumed.named_parameters():
        assert torch.equal(tensor, undisturbed.get_parameter(name))


@pytest.mark.parametrize(
    ("precision", "dtype", "expected", "said"),
    [
        ("full", torch.float32, None, None),
        ("full", torch.float16, None, None),
        ("bf16", torch.float32, torch.bfloat16, None),
        ("bf16", torch.float64, torch.bfloat16, None),
        ("bf16", torch.float16, None, "itself computes with float16"),
        ("fp16", torch.float32, None, "full precision: the device (cpu)"),
    ],
)
def test_where_it_cannot_be_had_it_is_said(
    precision: Any, dtype: torch.dtype, expected: torch.dtype | None, said: str | None
) -> None:
    notes: list[str] = []
    weights = [torch.zeros(2, dtype=dtype), torch.zeros(2, dtype=torch.int64)]
    assert autocast_dtype(precision, CPU, weights, notes.append) == expected
    assert [said in note for note in notes] == ([] if said is None else [True])


def test_a_program_that_half_precision_breaks_is_told_the_way_out(
    course: Callable[..., Course], program_of: Any, guarding: Any
) -> None:
    class Writing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(len(x), 3)
            scores[torch.arange(len(x))] = super().forward(x.flatten(1))
            return scores

    with pytest.raises(JobFailed, match="with precision bf16") as refused:
        fine_tune(program_of(Writing(64, 3)), course(precision="bf16"), guarding({}), 0, 1)
    assert "recover.precision to full" in refused.value.remedy
    fine_tune(program_of(Writing(64, 3)), course(), guarding({}), 0, 1)
