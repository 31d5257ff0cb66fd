"""How good a program is on some examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from secateur.errors import EmptyDataset
from worker.recovery.data import Subset
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Objective, Score
from worker.recovery.running import run


class Runnable(Protocol):
    """A program that can be run on batches, in training mode or not."""

    def __call__(self, *inputs: torch.Tensor) -> Any: ...
    def set_training(self, mode: bool, /) -> None: ...


@torch.no_grad()
def evaluate(
    program: Runnable,
    examples: Subset,
    objective: Objective,
    batch_size: int,
    device: torch.device,
    on_batch: Callable[[int, int], None] | None = None,
) -> Score:
    """The score over all `examples`; leaves the program in evaluation mode.

    `on_batch` hears how many examples are done, of how many. Raises EmptyDataset, DataMismatch, OutOfMemory.
    """
    if len(examples) == 0:
        raise EmptyDataset
    program.set_training(False)
    total: torch.Tensor | None = None
    with memory_errors():
        for start in range(0, len(examples), batch_size):
            positions = np.arange(start, min(start + batch_size, len(examples)))
            tally = _tally(program, examples, positions, objective, device)
            total = tally if total is None else total + tally
            if on_batch is not None:
                on_batch(start + len(positions), len(examples))
    assert total is not None
    return objective.score(total)


def _tally(
    program: Runnable, examples: Subset, positions: np.ndarray[Any, Any], objective: Objective, device: torch.device
) -> torch.Tensor:
    inputs, target = examples.batch(positions)
    output = objective.select(run(program, inputs, device))
    objective.labels(output, target)
    return objective.tally(output, target.to(device))
