"""What every objective offers to training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from secateur.report import MetricName


@dataclass(frozen=True)
class Score:
    """A metric, on how many scored labels it rests, its standard error, and the mean loss on the same labels."""

    value: float
    examples: int
    standard_error: float
    loss: float


class Objective(Protocol):
    """Loss and metric of one output of a program.

    `output` and `target` are tensors on one device. Tallies are float64 tensors that add up over batches.
    """

    @property
    def metric(self) -> MetricName: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def taught(self) -> bool:
        """Whether the dense network's outputs are the targets, and the data's labels are not looked at."""
        ...

    def select(self, outputs: Any) -> torch.Tensor:
        """The scored output among all that the program returned."""
        ...

    def counted(self, target: torch.Tensor) -> float:
        """What the labels of the batch that count weigh together, whatever the output; `target` on the host.

        Each weighs 1, unless classes have weights of their own.
        """
        ...

    def number(self, target: torch.Tensor) -> int:
        """How many labels of the batch count, each as one."""
        ...

    def labels(self, output: torch.Tensor, target: torch.Tensor) -> float:
        """As `counted`, for labels that fit the output. Raises DataMismatch and LabelsOutOfRange when they do not."""
        ...

    def loss(self, output: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """The weighed mean loss over the labels that count, in float32 or wider.

        `smoothing` is the share of each label that is spread evenly over all classes (Szegedy et al. 2016); without
        classes it has no effect.
        """
        ...

    def distance(
        self, output: torch.Tensor, dense: torch.Tensor, target: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """How far an output is from the dense network's, over the labels that count, in float32 or wider.

        Of classes temperature^2 * KL(dense || output), both softened (Hinton, Vinyals & Dean 2015), the plain mean
        over the labels, whatever their classes weigh; of numbers the mean squared difference.
        """
        ...

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """What `score` needs to know about this batch."""
        ...

    def score(self, tally: torch.Tensor) -> Score:
        """The metric from the sum of all tallies. Raises EmptyDataset when no label counts."""
        ...
