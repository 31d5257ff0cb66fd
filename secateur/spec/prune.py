"""What is taken away, in which order, and how much of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record

Amount = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="The share taken away, 0 <= amount < 1.")]
Glob = Annotated[str, Field(min_length=1, max_length=256, description="fnmatch pattern on full parameter names.")]


class L1(Record):
    """The magnitude of a weight: the smallest go first (Han et al. 2015)."""

    kind: Literal["l1"] = "l1"


class Random(Record):
    """A seeded draw: the baseline that every other importance has to beat."""

    kind: Literal["random"] = "random"


Importance = Annotated[L1 | Random, Field(discriminator="kind")]


class Sparsity(Record):
    """The share of zeros among the chosen weights at the end."""

    kind: Literal["sparsity"] = "sparsity"
    amount: Amount


class Layers(Record):
    """Which of the prunable layers are pruned, and which of them by an amount of their own."""

    include: tuple[Glob, ...] = Field(default=("*",), min_length=1, max_length=256)
    exclude: tuple[Glob, ...] = Field(default=(), max_length=256)
    override: dict[Glob, Amount] = Field(
        default_factory=dict,
        max_length=1024,
        description="Pattern -> amount. These layers leave the global pool; the last pattern that matches wins.",
    )


class OneShot(Record):
    """Everything at once, then retraining."""

    kind: Literal["one_shot"] = "one_shot"


class Iterative(Record):
    """A part of it, retraining, the next part: `curve` says how the sparsity grows over the rounds.

    linear: equal steps; cubic: fast, then slower (Zhu & Gupta 2017); geometric: an equal share of what is left.
    """

    kind: Literal["iterative"] = "iterative"
    rounds: int = Field(ge=1, le=100)
    curve: Literal["linear", "cubic", "geometric"] = "cubic"


Schedule = Annotated[OneShot | Iterative, Field(discriminator="kind")]


class Prune(Record):
    """What is taken away."""

    granularity: Literal["weight"] = "weight"
    importance: Importance = L1()
    scope: Literal["global", "layer"] = Field(
        default="global", description="global: all chosen layers are ranked together; layer: each by itself."
    )
    target: Sparsity
    layers: Layers = Layers()
    schedule: Schedule = Iterative(rounds=5)

    @property
    def rounds(self) -> int:
        """How many times the job prunes and retrains."""
        return self.schedule.rounds if isinstance(self.schedule, Iterative) else 1
