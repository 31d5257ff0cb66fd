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


WeightImportance = Annotated[L1 | Lamp | Random, Field(discriminator="kind")]
UnitImportance = Annotated[L2 | L1 | Random, Field(discriminator="kind")]
