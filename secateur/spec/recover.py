"""How the accuracy that pruning cost is trained back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from secateur.spec.distill import Distill
from secateur.spec.rewinding import LearningRateRewind, LotteryTicket
from secateur.spec.task import DistillationOnly, Regression
from secateur.spec.training import Rate, Recalibrated, Training


class Nothing(Recalibrated):
    """No retraining."""

    kind: Literal["none"] = "none"


class TrainOn(Training):
    """Train on from the surviving weights, with a learning rate of its own in each round."""

    SHARE: ClassVar[float]
    """Of the original learning rate."""

    epochs_per_round: int = Field(default=2, ge=0, le=10_000, description="After each round but the last.")
    epochs: int = Field(default=5, ge=0, le=10_000, description="After the last round.")
    original_learning_rate: Rate | None = Field(
        default=None, description="What the network was trained with; `kind` says how much of it is used."
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
        return self.SHARE * self.original_learning_rate

    def epochs_in(self, round: int, rounds: int) -> int:
        """How many epochs follow the pruning of `round`, counted from 1, of `rounds`."""
        return self.epochs if round == rounds else self.epochs_per_round


class FineTune(TrainOn):
    """Train on at a low learning rate, by default 10 % of the original (Han et al. 2015)."""

    SHARE = 0.1
    kind: Literal["fine_tune"] = "fine_tune"


def _told(field: str) -> str:
    """What is said of a field of every training."""
    return str(Training.model_fields[field].description)


class Retrain(TrainOn):
    """Train on at a high learning rate, by default 4 times the original, and with all that makes it bearable.

    A high rate finds another minimum where pruning has thrown the network out of its own (Renda et al. 2020, Le & Hua
    2021). The defaults are the recipe that was best on benchmarks/accuracy_choice.md, for when there are some hundred
    steps to train. Labels are not smoothed where the task has none of classes.
    """

    SHARE = 4.0
    kind: Literal["retrain"] = "retrain"
    epochs_per_round: int = Field(default=3, ge=0, le=10_000, description="After each round but the last.")
    epochs: int = Field(default=8, ge=0, le=10_000, description="After the last round.")
    warmup_steps: int = Field(
        default=8, ge=0, le=1_000_000, description=f"{_told('warmup_steps')} For one_cycle the default is 0."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, allow_inf_nan=False, description=_told("clip_norm"))
    label_smoothing: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description=f"{_told('label_smoothing')} Where the task has no labels of classes the default is 0.",
    )
    distill: Distill | None = Field(
        default=Distill(),
        description=f"{_told('distill')} Where the task has no other loss than the distance to it the default is null.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_second_warm_up(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and fields.get("curve") == "one_cycle":
            return {"warmup_steps": 0, **fields}
        return fields

    def fitting(self, task: object) -> Self:
        """The same without those defaults that mean nothing for this task."""
        changes: dict[str, Any] = {}
        if isinstance(task, Regression | DistillationOnly):
            changes["label_smoothing"] = 0.0
        if isinstance(task, DistillationOnly) and task.like == "regression":
            changes["distill"] = None
        return self.model_copy(
            update={name: value for name, value in changes.items() if name not in self.model_fields_set}
        )


Recover = Annotated[FineTune | Retrain | LearningRateRewind | LotteryTicket | Nothing, Field(discriminator="kind")]
