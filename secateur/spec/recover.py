"""How the accuracy that pruning cost is trained back."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secateur.record import Record

Rate = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]

FINE_TUNING_RATE = 0.1


class Sgd(Record):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Momentum = 0.9
    nesterov: bool = True
    weight_decay: Decay = 1e-4

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set nesterov to false")
        return self


class AdamW(Record):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    weight_decay: Decay = 1e-2


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Nothing(Record):
    """No retraining."""

    kind: Literal["none"] = "none"


class FineTune(Record):
    """Train on from the surviving weights at a low learning rate, by default 10 % of the original (Han et al. 2015)."""

    kind: Literal["fine_tune"] = "fine_tune"
    epochs_per_round: int = Field(default=2, ge=0, le=10_000, description="After each round but the last.")
    epochs: int = Field(default=5, ge=0, le=10_000, description="After the last round.")
    batch_size: int = Field(default=64, ge=1, le=65_536)
    optimizer: Optimizer = Sgd()
    original_learning_rate: Rate | None = Field(
        default=None, description="What the network was trained with; a tenth of it is used here."
    )
    learning_rate: Rate | None = Field(
        default=None, description="Used as it is. Give this or the original one, not both."
    )
    curve: Literal["cosine", "constant"] = Field(
        default="cosine", description="How the learning rate goes down within a round."
    )
    reset_optimizer: bool = Field(
        default=True, description="Forget momentum when a round of pruning changed the network."
    )

    @model_validator(mode="after")
    def _one_learning_rate(self) -> Self:
        if (self.original_learning_rate is None) == (self.learning_rate is None):
            raise ValueError("give exactly one of original_learning_rate and learning_rate")
        return self

    @property
    def rate(self) -> float:
        """The learning rate that fine-tuning starts each round with."""
        if self.learning_rate is not None:
            return self.learning_rate
        assert self.original_learning_rate is not None
        return FINE_TUNING_RATE * self.original_learning_rate


Recover = Annotated[FineTune | Nothing, Field(discriminator="kind")]
