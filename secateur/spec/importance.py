"""What decides which weights or units go first: those with the lowest score."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record


class L1(Record):
    """The magnitude of a weight (Han et al. 2015); of a unit, the magnitudes of all parameters that go with it."""

    kind: Literal["l1"] = "l1"


class Lamp(Record):
    """The square of a weight over those of all weights of its layer that are not smaller (Lee et al. 2021)."""

    kind: Literal["lamp"] = "lamp"


class L2(Record):
    """The Euclidean norm of all parameters that go with a unit (after Li et al. 2017)."""

    kind: Literal["l2"] = "l2"


class Random(Record):
    """A seeded draw: the baseline that every other importance has to beat."""

    kind: Literal["random"] = "random"


class GeometricMedian(Record):
    """How far the rows that a unit is born on are from those of all other units of its group (He et al. 2019)."""

    kind: Literal["geometric_median"] = "geometric_median"


class Gathered(Record):
    """An importance that is gathered on training examples, anew in each round, on the network as it then is."""

    batches: int = Field(
        default=16,
        ge=1,
        le=10_000,
        description="On how many batches of training examples it is gathered, each of recover.batch_size (64 without "
        "training). Where there are fewer examples than that all are used; report.calibration says how many.",
    )


class Taylor(Gathered):
    """The square of gradient times weight, the mean over batches (Molchanov et al. 2019).

    Of a unit, the square of the sum over everything that goes with it.
    """

    kind: Literal["taylor"] = "taylor"


class Snip(Gathered):
    """Weight times the mean gradient over all examples, as a magnitude (Lee et al. 2019, SNIP).

    Of a unit, the magnitude of the sum over everything that goes with it (van Amersfoort et al. 2020).
    """

    kind: Literal["snip"] = "snip"


class Wanda(Gathered):
    """The magnitude of a weight times the Euclidean norm of what it is multiplied by (Sun et al. 2023)."""

    kind: Literal["wanda"] = "wanda"


class Movement(Gathered):
    """Minus the sum of gradient times weight over steps of training, signed: what grows stays (Sanh et al. 2020).

    The steps are those of plain gradient descent, one a batch, and the network is put back afterwards.
    """

    kind: Literal["movement"] = "movement"
    batches: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="How many steps are made, each on one batch of recover.batch_size (64 without training) examples. "
        "Where there are fewer examples than that each is used once.",
    )
    learning_rate: float = Field(
        default=0.01, gt=0, le=1e3, allow_inf_nan=False, description="Of these steps; that of recover is its own."
    )


WeightImportance = Annotated[
    L1 | Lamp | Taylor | Snip | Wanda | Movement | Random,
    Field(discriminator="kind"),
]
UnitImportance = Annotated[L2 | L1 | Taylor | Snip | GeometricMedian | Random, Field(discriminator="kind")]
