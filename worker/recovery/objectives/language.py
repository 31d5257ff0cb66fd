"""Tokens to be foretold, judged by perplexity."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass
from typing import Literal

import torch

from secateur.spec.task import IGNORED_LABEL
from worker.recovery.objectives.contract import Score
from worker.recovery.objectives.cross_entropy import CrossEntropy, fits_tokens
from worker.recovery.objectives.tensors import require_labels
from worker.recovery.objectives.totals import standard_error, tally_of, totals


@dataclass(frozen=True)
class LanguageObjective(CrossEntropy, ABC):
    """Cross-entropy and perplexity, the exponential of its mean over all labels of all batches."""

    metric: Literal["perplexity"] = "perplexity"
    higher_is_better: bool = False

    expects = "integer labels (examples, positions) for an output (examples, positions, tokens)"

    def fits(self, output: torch.Tensor, target: torch.Tensor) -> bool:
        return fits_tokens(output, target)

    def tally(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        counted = (self.places(target) != IGNORED_LABEL).sum(dim=1).double()
        return tally_of(torch.stack([counted, self.losses(output, target).sum(dim=1)], dim=1))

    def score(self, tally: torch.Tensor) -> Score:
        """The standard error is that of the mean loss, carried through the exponential."""
        counted, loss = totals(tally).tolist()
        require_labels(counted)
        mean = loss / counted
        error = standard_error(tally, torch.tensor([-mean, 1.0], dtype=tally.dtype, device=tally.device) / counted)
        perplexity = math.exp(mean) if mean < math.log(torch.finfo(torch.float64).max) else math.inf
        return Score(perplexity, int(counted), perplexity * error, mean)


@dataclass(frozen=True)
class CausalLmObjective(LanguageObjective):
    """Position t of the output is scored on label t + 1: the last position and the first label are left out."""

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output[:, :-1]

    def places(self, target: torch.Tensor) -> torch.Tensor:
        return target[:, 1:]


@dataclass(frozen=True)
class MaskedLmObjective(LanguageObjective):
    """Each position is scored on its own label; all that is not masked has -100."""

    def scored(self, output: torch.Tensor) -> torch.Tensor:
        return output

    def places(self, target: torch.Tensor) -> torch.Tensor:
        return target
