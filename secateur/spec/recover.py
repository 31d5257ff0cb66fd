"""How the accuracy that pruning cost is trained back."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secateur.spec.rewinding import LearningRateRewind, LotteryTicket
from secateur.spec.training import Rate, Recalibrated, Training

FINE_TUNING_RATE = 0.1


class Nothing(Recalibrated):
    """No retraining."""

    kind: Literal["none"] = "none"


class FineTune(Training):
    """Train on from the surviving weights at a low learning rate, by default 10 % of the original (Han et al. 2015)."""

    kind: Literal["fine_tune"] = "fine_tune"
    epochs_per_round: int = Field(default=2, ge=0, le=10_000, description="After each round but the last.")
    epochs: int = Field(default=5, ge=0, le=10_000, description="After the last round.")
    original_learning_rate: Rate | None = Field(
        default=None, description="What the network was trained with; a tenth of it is used here."
    )
    learning_rate: Rate | None = Field(
        default=None, description="Used as it is. Give this or the original one, not both."
    )

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        if (self.original_learning_rate is None) == (self.learning_rate is None):
            raise ValueError("give exactly one of original_learning_rate and learning_rate")
        return self

    @property
    def rate(self) -> float:
        """The learning rate that `curve` takes its share of: the highest of a round."""
        if self.learning_rate is not None:
            return self.learning_rate
        assert self.original_learning_rate is not None
        return FINE_TUNING_RATE * self.original_learning_rate

    def epochs_in(self, round: int, rounds: int) -> int:
        """How many epochs follow the pruning of `round`, counted from 1, of `rounds`."""
        return self.epochs if round == rounds else self.epochs_per_round


Recover = Annotated[FineTune | LearningRateRewind | LotteryTicket | Nothing, Field(discriminator="kind")]
