"""Going back to an earlier point of the training: the weights of then, or its learning rates."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from secateur.ids import ModelId
from secateur.spec.training import Rate, Training

Controls = Literal["none", "last_round", "every_round"]


class Rewinding(Training):
    """Training that is taken up again, after each round, where the original one had come to an epoch."""

    epochs: int = Field(
        default=10, ge=1, le=10_000, description="Of a whole training: `curve` says how the rate goes over all of them."
    )
    rewind_epoch: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="The epoch that each round goes back to: so many are not trained again. 0: the very beginning.",
    )

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.rewind_epoch >= self.epochs:
            raise ValueError(
                f"rewind_epoch {self.rewind_epoch} leaves nothing to train of {self.epochs} epochs; set it below epochs"
            )
        return self

    @property
    def epochs_before(self) -> int:
        """How much of the learning rate's curve a round leaves out."""
        return self.rewind_epoch

    def epochs_in(self, round: int, rounds: int) -> int:
        """The same after each round: what is left of a whole training."""
        return self.epochs - self.rewind_epoch


class LearningRateRewind(Rewinding):
    """The surviving weights stay; they are trained with the original learning rates again (Renda et al. 2020)."""

    kind: Literal["learning_rate_rewind"] = "learning_rate_rewind"
    original_learning_rate: Rate = Field(description="What the network was trained with; used as it is.")

    @property
    def rate(self) -> float:
        """The learning rate that `curve` takes its share of."""
        return self.original_learning_rate


class LotteryTicket(Rewinding):
    """Train dense, prune, reset the survivors to their initial values, train them alone (Frankle & Carbin 2019).

    The uploaded program is the initialisation, and is trained first; or it is the trained network, and `initial` the
    model that its training began with. With `rewind_epoch` the survivors get the values that they had after so many
    epochs of the dense training (Frankle et al. 2020).
    """

    kind: Literal["lottery_ticket"] = "lottery_ticket"
    learning_rate: Rate = Field(description="Of the dense training and of each ticket's.")
    initial: ModelId | None = Field(
        default=None,
        description="The initialisation, where the job's model is the network that was trained from it: the same "
        "program with other numbers.",
    )
    controls: Controls = Field(
        default="none",
        description="Train two other networks beside the ticket, each with as many weights in every layer and as many "
        "steps: the same mask on values drawn anew (random_reinit), and a random mask on the initial values "
        "(random_mask).",
    )

    @model_validator(mode="after")
    def _known_at_that_epoch(self) -> Self:
        if self.initial is not None and self.rewind_epoch > 0:
            raise ValueError(
                "the values after rewind_epoch are known only of a training that the job does itself: leave out "
                "initial, and let model be the initialisation; or give the model of that epoch as initial, and "
                "set rewind_epoch to 0"
            )
        return self

    @model_validator(mode="after")
    def _something_to_teach(self) -> Self:
        if self.distill is not None and self.initial is None:
            raise ValueError(
                "distill learns from the dense network of the job's model, which is not trained yet: give the trained "
                "network as model and its initialisation as initial"
            )
        return self

    @model_validator(mode="after")
    def _no_memory_of_other_weights(self) -> Self:
        if not self.reset_optimizer:
            raise ValueError("the weights go back to earlier values, so reset_optimizer cannot be false")
        return self

    @model_validator(mode="after")
    def _on_equal_terms(self) -> Self:
        if self.patience is not None:
            raise ValueError(
                "a ticket, the dense network and the controls are compared after as many steps, so none of them may "
                "end early: leave out patience"
            )
        if self.recalibration_batches > 0 and self.controls != "none":
            raise ValueError(
                "the controls get no new statistics for batch norm, so the ticket must not either: set "
                "recalibration_batches to 0, or controls to none"
            )
        return self

    @property
    def rate(self) -> float:
        """The learning rate that `curve` takes its share of."""
        return self.learning_rate

    @property
    def trains_dense(self) -> bool:
        """Whether the job begins with the training of the dense network."""
        return self.initial is None
