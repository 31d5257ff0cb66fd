"""How a network is trained: optimizer, learning rate and batches, whatever the training is for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from secateur.record import Record
from secateur.spec.distill import Distill

Rate = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Curve = Literal["cosine", "constant", "step", "one_cycle"]
Precision = Literal["full", "bf16", "fp16"]


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


class Recalibrated(Record):
    """What every kind of recovery has in common, whether it trains or not."""

    recalibration_batches: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="At the end of each round the running statistics of batch norm are taken anew, as the plain "
        "average over so many batches of the training data, and kept where the validation data says that it helps. "
        "0: never. Without batch norm in the network it has no effect.",
    )

    def fitting(self, task: object) -> Self:
        """The same without those defaults that mean nothing for this task."""
        return self


class Training(Recalibrated):
    """What every kind of recovery that trains has in common; how fast and how long is the business of each kind."""

    batch_size: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Where the memory is not enough, or the program takes fewer at once, a batch goes through it in "
        "equal parts, which weigh as the whole. A last batch of a single example is left out.",
    )
    optimizer: Optimizer = Sgd()
    curve: Curve = Field(
        default="cosine",
        description="How the learning rate goes within a round. step: a tenth of it from half of the steps on, a "
        "hundredth from three quarters on. one_cycle: up from a 25th of it, at its top after 30 % of the steps, then "
        "down to nearly nothing.",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Over so many steps at the start of each round the rate rises linearly to that of the curve; a "
        "round with fewer steps ends before it is there. Not for one_cycle, which rises by itself.",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="So many batches make one step, the one that they would make as a single batch: as little memory "
        "as batch_size needs, and the gradients of a larger one. Batch norm still sees each batch alone.",
    )
    clip_norm: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Where the norm over the gradients of all weights is greater, they are scaled down to it.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="The share of each label that is spread evenly over all classes while training. For "
        "classification; the loss that is reported stays the plain one.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="After so many epochs in a row that brought nothing better on the validation data a round ends. "
        "The learning rate goes as if it did not.",
    )
    precision: Precision = Field(
        default="full",
        description="What convolutions and matrix products compute with while training (autocast); weights and their "
        "updates stay in float32, and all scores are measured in full precision. fp16 scales the loss and needs a "
        "CUDA device.",
    )
    reset_optimizer: bool = Field(
        default=True, description="Forget momentum when a round of pruning changed the network."
    )
    distill: Distill | None = Field(
        default=None, description="Learn from the dense network, too. null: from the labels alone."
    )

    @model_validator(mode="after")
    def _one_warm_up(self) -> Self:
        if self.curve == "one_cycle" and self.warmup_steps > 0:
            raise ValueError("one_cycle warms up by itself; set warmup_steps to 0, or take another curve")
        return self

    @property
    def rate(self) -> float:
        """The learning rate that `curve` takes its share of: the highest of a round."""
        raise NotImplementedError

    @property
    def epochs_before(self) -> int:
        """How many epochs of the learning rate's curve lie before the first one of a round."""
        return 0

    def epochs_in(self, round: int, rounds: int) -> int:
        """How many epochs follow the pruning of `round`, counted from 1, of `rounds`."""
        raise NotImplementedError
