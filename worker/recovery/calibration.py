"""The training examples that an importance is gathered on, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from worker.recovery.data import Subset
from worker.recovery.objective import Objective
from worker.recovery.order import permutation
from worker.recovery.portion import Note, Portion, silent

Batch = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""Inputs and targets, on the host."""


@dataclass(frozen=True)
class Calibration:
    """Some training examples, drawn without replacement, and what the program is judged by on them.

    `wanted` batches of `batch_size`, or what there is: a last one of one example is left out where there are others, as
    in training (batch norm needs two).
    """

    train: Subset
    objective: Objective
    batch_size: int
    wanted: int
    seed: int
    device: torch.device
    note: Note = silent
    before_batch: Callable[[], None] = lambda: None
    """Called before each batch is read; what it raises ends the round."""

    @property
    def batches(self) -> int:
        """How many there are."""
        whole, rest = divmod(len(self.train), self.batch_size)
        return min(self.wanted, max(whole + (rest > 1), 1))

    @property
    def examples(self) -> int:
        """How many different ones there are in all batches."""
        return min(len(self.train), self.batches * self.batch_size)

    def portion(self) -> Portion:
        """How much of a batch goes through the program at once, in a round: what was before it has no part in that."""
        return Portion(min(self.batch_size, len(self.train)), _said_of_halving, self.note)

    def drawn(self, round_index: int) -> Iterator[Batch]:
        """The batches of a round, each read when its turn comes: they depend on (seed, round) alone."""
        order = permutation(len(self.train), self.seed, round_index)[: self.examples]
        for start in range(0, self.examples, self.batch_size):
            self.before_batch()
            yield self.train.batch(order[start : start + self.batch_size])


def _said_of_halving(before: int, after: int) -> str:
    return (
        f"The memory was not enough to gather the importance on {before} examples at once: batches went through the "
        f"network in parts of at most {after}, which weigh as the whole; batch norm that trains sees every part alone."
    )
