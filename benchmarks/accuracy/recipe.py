"""What is done to a dense network, in the terms of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.spec.recover import FineTune

EPOCHS = 20
"""Of training after the dense network, for every method and however many rounds it has."""


@dataclass(frozen=True)
class Recipe:
    """`rounds` of pruning with `per_round` epochs after each but the last, which gets what is left of the EPOCHS.

    `rate` is a share of the learning rate of the dense training. `prune` and `recover` are laid over what is written
    here, for whatever else a job can be told; a field of `recover` that is None is left out.
    """

    rate: float
    rounds: int = 1
    per_round: int = 0
    curve: str = "cubic"
    prune: Mapping[str, Any] = field(default_factory=dict)
    recover: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Epochs after the last round."""
        return EPOCHS - (self.rounds - 1) * self.per_round

    def terms(self, dense: FineTune) -> dict[str, Any]:
        """`prune`, without target and granularity, and `recover`; optimizer and batches are those of `dense`."""
        schedule = {"kind": "iterative", "rounds": self.rounds, "curve": self.curve}
        recover = {
            "kind": "fine_tune",
            "optimizer": dense.optimizer.model_dump(mode="json"),
            "batch_size": dense.batch_size,
            "learning_rate": self.rate * dense.rate,
            "epochs_per_round": self.per_round,
            "epochs": self.last,
        }
        told = {name: value for name, value in {**recover, **self.recover}.items() if value is not None}
        return {"prune": {"schedule": schedule, **self.prune}, "recover": told}
