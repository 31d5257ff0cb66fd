"""The training examples that an importance is gathered on, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from worker.recovery.data import Subset
from worker.recovery.objective import Objective
from worker.recovery.order import permutation

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

    @property
    def batches(self) -> int:
        """How many there are."""
        whole, rest = divmod(len(self.train), self.batch_size)
        return min(self.wanted, max(whole + (rest > 1), 1))

    @property
    def examples(self) -> int:
        """How many different ones there are in all batches."""
        return min(len(self.train), self.batches * self.batch_size)

    def drawn(self, round_index: int) -> Iterator[Batch]:
        """The batches of a round, each read when its turn comes: they depend on (seed, round) alone."""
        order = permutation(len(self.train), self.seed, round_index)[: self.examples]
        for start in range(0, self.examples, self.batch_size):
            yield self.train.batch(order[start : start + self.batch_size])
