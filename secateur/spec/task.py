"""What the network is for: it decides loss and metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record

IGNORED_LABEL = -100
"""A label that is not scored, as in torch."""

Output = Annotated[
    int | str | None,
    Field(description="Index or key of the output that is scored; needed only where the program has several."),
]


class Classification(Record):
    """Cross-entropy on integer labels (-100 is ignored), measured by accuracy.

    The scored output has the shape (N, classes) or (N, classes, ...).
    """

    kind: Literal["classification"] = "classification"
    output: Output = None


class Regression(Record):
    """Mean squared error on float targets of the output's shape, measured by the root of it."""

    kind: Literal["regression"] = "regression"
    output: Output = None


Task = Annotated[Classification | Regression, Field(discriminator="kind")]
