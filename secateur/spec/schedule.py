"""In how many steps the final amount is reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record


class OneShot(Record):
    """Everything at once, then retraining."""

    kind: Literal["one_shot"] = "one_shot"


class Iterative(Record):
    """A part of it, retraining, the next part: `curve` says how the amount grows over the rounds.

    linear: equal steps; cubic: fast, then slower (Zhu & Gupta 2017); geometric: an equal share of what is left.
    """

    kind: Literal["iterative"] = "iterative"
    rounds: int = Field(ge=1, le=100)
    curve: Literal["linear", "cubic", "geometric"] = "cubic"


Schedule = Annotated[OneShot | Iterative, Field(discriminator="kind")]


class Scheduled(Record):
    """A pruning that has a schedule."""

    schedule: Schedule = Iterative(rounds=5)

    @property
    def rounds(self) -> int:
        """How many times the job prunes and retrains."""
        return self.schedule.rounds if isinstance(self.schedule, Iterative) else 1
