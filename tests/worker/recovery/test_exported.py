"""Recovery of a program that was exported and read back: it trains as the module that it was exported from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.spec.recover import FineTune
from secateur.spec.task import Classification
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.course import Course
from worker.recovery.data import Dataset, Subset
from worker.recovery.objective import objective_for
from worker.recovery.train import fine_tune


def network(dtype: torch.dtype, dropout: float) -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, 3)]
    return nn.Sequential(*body).to(dtype)


def exported(module: nn.Module, dtype: torch.dtype, path: Path) -> Program:
    sample = torch.randn(4, 1, 8, 8, dtype=dtype)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    torch.export.save(torch.export.export(module.eval(), (sample,), dynamic_shapes=(batch,)), path)
    return read(path)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_exported_program_trains_as_its_module(
    tmp_path: Path,
    make_dataset: Callable[..., Dataset],
    program_of: Any,
    guarding: Any,
    dtype: torch.dtype,
    dropout: float,
) -> None:
    x = torch.randn(80, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    dataset = make_dataset(x, (x.mean(dim=(1, 2, 3)) * 30).round().clamp(-1, 1).long() + 1, dtype)
    module = network(dtype, dropout)
    program = exported(module, dtype, tmp_path / "model.pt2")
    objective = objective_for(Classification(), inspect(program).outputs)
    spec = FineTune(learning_rate=0.05, batch_size=16)
    course = Course(
        Subset(dataset, np.arange(60)), Subset(dataset, np.arange(60, 80)), objective, spec, 1, torch.device("cpu")
    )
    weight = "5.weight"
    masks = {weight: torch.rand(3, 144, generator=torch.Generator().manual_seed(1)) > 0.8}
    ours = fine_tune(program, course, guarding(masks), 0, 3)
    theirs = fine_tune(program_of(module), course, guarding(masks), 0, 3)
    assert ours.best_epoch == theirs.best_epoch
    state = program.module.state_dict()
    assert state.keys() == module.state_dict().keys()
    for name in state.keys() - {"1.num_batches_tracked"}:  # counted by the Python of BatchNorm, which a graph has not
        assert torch.equal(state[name], module.state_dict()[name]), name
    assert torch.equal(state[weight] != 0, masks[weight])
