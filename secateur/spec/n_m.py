"""The target of a pattern that sparse matrix kernels can use, in place of a share."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from secateur.record import Record

OF_MAX = 64


class KeepNOfM(Record):
    """Of every `of` consecutive weights along the input axis at most `keep` stay: 2 of 4, say (Mishra et al. 2021)."""

    kind: Literal["n_m"] = "n_m"
    keep: int = Field(ge=1, lt=OF_MAX, description="N: how many weights of a block stay at most.")
    of: int = Field(ge=2, le=OF_MAX, description="M: how many consecutive weights make a block.")

    @model_validator(mode="after")
    def _some_go(self) -> Self:
        if self.keep >= self.of:
            raise ValueError(
                f"keep is how many of each block of `of` weights stay: it must be smaller, not {self.keep} of {self.of}"
            )
        return self

    @property
    def amount(self) -> float:
        """The share of a block that is taken away."""
        return (self.of - self.keep) / self.of
