"""New statistics for batch norm, which those from before the pruning no longer fit.

Running statistics are an exponential average over weights that have changed meanwhile; the plain average over some
batches with the weights that are handed over is exact ("precise" batch norm, Wu & Johnson 2021). Li et al. 2020
(EagleEye) show how much of the accuracy of a pruned network it gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from secateur.errors import OutOfMemory
from worker.recovery.best import better
from worker.recovery.memory import memory_errors
from worker.recovery.objective import Score
from worker.recovery.portion import Note, silent
from worker.recovery.running import run
from worker.recovery.state import restore_tensors


class Normalised(Protocol):
    """A program that may have batch norm."""

    def __call__(self, *inputs: torch.Tensor) -> Any: ...
    def taking_statistics(self) -> AbstractContextManager[dict[str, torch.Tensor]]: ...


@torch.no_grad()
def recalibrate(
    program: Normalised,
    batches: Iterable[tuple[torch.Tensor, ...]],
    device: torch.device,
    score: Callable[[], Score],
    before: Score,
    higher_is_better: bool,
    note: Note = silent,
) -> tuple[Score, bool | None]:
    """The better one of two scores, and whether it is that of new statistics; `program` is left with its statistics.

    The new ones are their plain average over `batches` of inputs, as torch.nn.BatchNorm2d with `momentum=None` has it;
    `before` is what `score` gives for the old ones. None: there are no new ones, because there is no batch norm or, as
    `note` hears then, too little memory. Raises DataMismatch.
    """
    with program.taking_statistics() as statistics:
        if not statistics:
            return before, None
        old = {name: tensor.clone() for name, tensor in statistics.items()}
        try:
            with memory_errors():
                new = _averages(program, batches, device, statistics)
        except OutOfMemory:
            restore_tensors(statistics, old)
            note("The statistics of batch norm were not taken anew: there was not enough memory.")
            return before, None
    restore_tensors(statistics, new)
    after = score()
    if better(after, before, higher_is_better):
        return after, True
    restore_tensors(statistics, old)
    return before, False


def _averages(
    program: Normalised,
    batches: Iterable[tuple[torch.Tensor, ...]],
    device: torch.device,
    statistics: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    sums = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in statistics.items()}
    count = 0
    for inputs in batches:
        run(program, inputs, device)
        count += 1
        for name, tensor in statistics.items():
            sums[name] += tensor
    return {name: total / count for name, total in sums.items()}
