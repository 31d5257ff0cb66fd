"""How good a program is on some examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from secateur.errors import EmptyDataset
from worker.program.program import Runnable
from worker.recovery.data import Subset
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Objective, Score
from worker.recovery.portion import Note, Portion, silent
from worker.recovery.running import run
from worker.recovery.teacher import Teacher


@torch.no_grad()
def evaluate(
    program: Runnable,
    examples: Subset,
    objective: Objective,
    batch_size: int,
    device: torch.device,
    on_batch: Callable[[int, int], None] | None = None,
    note: Note = silent,
    teacher: Teacher | None = None,
) -> Score:
    """The score over all `examples`; leaves the program in evaluation mode.

    `teacher` gives the targets of an objective that is taught.
    `on_batch` hears how many examples are done, of how many. Where the memory is not enough for a batch, it and those
    that follow are made smaller, and `note` hears of it. Raises EmptyDataset, DataMismatch, OutOfMemory.
    """
    if len(examples) == 0:
        raise EmptyDataset
    program.set_training(False)
    portion = Portion(min(batch_size, len(examples)), _said_of_halving, note)
    total: torch.Tensor | None = None
    done = 0

    def next_tally() -> tuple[torch.Tensor, int]:
        stop = min(done + portion.size, len(examples))
        return _tally(program, examples, np.arange(done, stop), objective, device, teacher), stop

    while done < len(examples):
        tally, done = portion.fitting(next_tally)
        total = tally if total is None else total + tally
        if on_batch is not None:
            on_batch(done, len(examples))
    assert total is not None
    return objective.score(total)


def _tally(
    program: Runnable,
    examples: Subset,
    positions: np.ndarray[Any, Any],
    objective: Objective,
    device: torch.device,
    teacher: Teacher | None,
) -> torch.Tensor:
    with memory_errors():
        inputs, target = examples.batch(positions)
        output = objective.select(run(program, inputs, device))
        if objective.taught:
            assert teacher is not None
            target = objective.select(teacher.answer(inputs).outputs)
        objective.labels(output, target)
        return objective.tally(output, target.to(device))


def _said_of_halving(before: int, after: int) -> str:
    return f"The memory was not enough to evaluate {before} examples at once: it was done with {after}."
