"""In how many steps the final amount is reached."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from secateur.record import Record
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.sensitivity import Sensitivity


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

    def taking(self, amount: float) -> Self:
        """The same, taking this share; each kind of pruning says of what."""
        raise NotImplementedError

    @property
    def fixed(self) -> Self:
        """The same with a target that says how much goes: the most that a search tries, nothing where one measures."""
        match getattr(self, "target", None):
            case MaxAccuracyDrop(most=most):
                return self.taking(most)
            case Sensitivity():
                return self.taking(0.0)
        return self

    @property
    def measures(self) -> bool:
        """Whether nothing is taken, and the job only finds out what each layer matters."""
        return isinstance(getattr(self, "target", None), Sensitivity)

    @property
    def searches(self) -> bool:
        """Whether how much goes is found out on the way."""
        return isinstance(getattr(self, "target", None), MaxAccuracyDrop)

    @property
    def needs_sensitivity(self) -> bool:
        """Whether the job has to find out what each layer matters."""
        return self.measures or getattr(self, "scope", None) == "sensitivity"

    @property
    def probed(self) -> tuple[float, ...]:
        """The shares that each layer loses by itself when that is found out."""
        target = getattr(self, "target", None)
        return target.amounts if isinstance(target, Sensitivity) else Sensitivity().amounts

    @property
    def rounds(self) -> int:
        """How many times the job prunes and retrains."""
        if self.measures:
            return 0
        return self.schedule.rounds if isinstance(self.schedule, Iterative) else 1
