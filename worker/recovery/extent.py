"""How much there is in a batch or a step, of what the means of a loss are taken over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

import torch

from worker.recovery.objective import Objective


class Extent(NamedTuple):
    """Three measures, as a loss may be a mean over any of them; also the share of a whole in each."""

    weight: float
    """What the labels that count weigh together."""
    labels: float
    """How many labels count."""
    examples: float

    @classmethod
    def of(cls, objective: Objective, targets: Iterable[torch.Tensor]) -> Self:
        """Of the batches with these targets together."""
        known = list(targets)
        weight, labels = (sum(map(measure, known)) for measure in (objective.counted, objective.number))
        return cls(weight, labels, sum(map(len, known)))

    def share(self, whole: Extent) -> Extent:
        """How much of the whole this is; none of nothing."""
        return Extent(*(part / total if total else 0.0 for part, total in zip(self, whole, strict=True)))
