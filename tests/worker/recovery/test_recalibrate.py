"""New statistics of batch norm: those that torch itself averages, kept only where they do better."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.objective import Score
from worker.recovery.recalibrate import recalibrate

CPU = torch.device("cpu")
BEFORE = Score(value=0.5, examples=20, standard_error=0.1, loss=1.0)


class Twice(nn.Module):
    """One batch norm that is used two times, after one that is used once, with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.shared, self.fc = nn.BatchNorm1d(36), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(torch.relu(self.first(self.conv(x))).flatten(1))
        return self.fc(self.shared(torch.tanh(self.shared(y))))


class Plain(nn.Module):
    """No batch norm, but dropout and a layer norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.fc = nn.LayerNorm(25), nn.Dropout(0.5), nn.Linear(25, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.norm(x.flatten(1))))


def module_of(kind: type[nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return kind().to(dtype).eval()


def exported(module: nn.Module, path: Path) -> Program:
    sample = torch.randn(4, 1, 5, 5, dtype=next(module.parameters()).dtype)
    batch = {0: torch.export.Dim("batch", max=64)}
    torch.export.save(torch.export.export(module, (sample,), dynamic_shapes=(batch,)), path)
    return read(path)


def batches(dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 1, 5, 5, generator=generator).mul(1 + at).to(dtype),) for at in range(5)]


def averaged_by_torch(module: nn.Module, given: list[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """What torch's own batch norm averages when it is told to average and not to forget."""
    reference = copy.deepcopy(module)
    for norm in reference.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
    with torch.no_grad():
        for inputs in given:
            reference(*inputs)
    return {name: tensor for name, tensor in reference.state_dict().items() if "running" in name}


def better_by(step: float) -> Score:
    return Score(value=BEFORE.value + step, examples=20, standard_error=0.1, loss=1.0)


def state_of(program: Program) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in program.module.state_dict().items()}


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_new_statistics_are_the_plain_average_that_torch_takes(
    tmp_path: Path, dtype: torch.dtype, within: float
) -> None:
    module = module_of(Twice, dtype)
    program = exported(module, tmp_path / "model.pt2")
    code, before = program.module.code, state_of(program)
    found = recalibrate(program, batches(dtype), CPU, lambda: better_by(0.1), BEFORE, True)
    assert found == (better_by(0.1), True)
    expected = averaged_by_torch(module, batches(dtype))
    assert len(expected) == 4
    for name, tensor in state_of(program).items():
        if name in expected:
            assert torch.allclose(tensor, expected[name], rtol=within, atol=within), name
            assert not torch.equal(tensor, before[name])
        else:
            assert torch.equal(tensor, before[name]), name
    assert program.module.code == code


@pytest.mark.parametrize(
    ("higher_is_better", "score", "kept"),
    [
        (True, better_by(-0.1), False),
        (False, better_by(-0.1), True),
        (True, BEFORE, False),
        (True, Score(0.5, 20, 0.1, loss=0.9), True),
        (True, Score(0.9, 20, 0.1, loss=float("nan")), False),
    ],
)
def test_they_are_kept_only_where_they_do_better(
    tmp_path: Path, higher_is_better: bool, score: Score, kept: bool
) -> None:
    program = exported(module_of(Twice, torch.float32), tmp_path / "model.pt2")
    before, code = state_of(program), program.module.code
    found = recalibrate(program, batches(torch.float32), CPU, lambda: score, BEFORE, higher_is_better)
    assert found == (score if kept else BEFORE, kept)
    assert all(torch.equal(before[name], tensor) for name, tensor in state_of(program).items()) is not kept
    assert program.module.code == code


def test_without_batch_norm_it_costs_nothing(tmp_path: Path) -> None:
    def never() -> Iterator[tuple[Tensor, ...]]:
        raise AssertionError
        yield

    program = exported(module_of(Plain, torch.float32), tmp_path / "model.pt2")
    assert recalibrate(program, never(), CPU, lambda: pytest.fail("scored"), BEFORE, True) == (BEFORE, None)


def test_too_little_memory_leaves_the_old_ones(tmp_path: Path) -> None:
    def cramped() -> Iterator[tuple[Tensor, ...]]:
        yield from batches(torch.float32)[:2]
        raise torch.OutOfMemoryError

    program = exported(module_of(Twice, torch.float32), tmp_path / "model.pt2")
    before, notes = state_of(program), []
    found = recalibrate(program, cramped(), CPU, lambda: pytest.fail("scored"), BEFORE, True, notes.append)
    assert found == (BEFORE, None)
    assert len(notes) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in state_of(program).items())
