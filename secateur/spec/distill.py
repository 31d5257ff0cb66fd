"""Learning from the dense network while a pruned one is trained."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from secateur.record import Record

Node = Annotated[str, Field(min_length=1, max_length=256)]


class Distill(Record):
    """The dense network's outputs as a second target (Hinton, Vinyals & Dean 2015).

    The loss is (1 - weight) * that of the task + weight * temperature^2 * KL(dense || pruned), both softened by the
    temperature; of a regression the mean squared difference of the outputs stands for the divergence. Features add
    feature_weight * the mean over them of the squared difference to the dense network's, relative to how large those
    are (FitNets, Romero et al. 2015).
    """

    temperature: float = Field(
        default=2.0,
        ge=0.1,
        le=100,
        allow_inf_nan=False,
        description="Scores are divided by it before the softmax: the higher, the more the small ones count.",
    )
    weight: float = Field(
        default=0.5, ge=0, le=1, allow_inf_nan=False, description="The share of the loss that is the dense network's."
    )
    features: tuple[Node, ...] = Field(
        default=(),
        max_length=64,
        description="Nodes of the program's graph, whose values are to be those of the dense network: the operator, "
        "its overload and, from the second on, a count, as relu_default, relu_default_1, linear_default.",
    )
    feature_weight: float = Field(default=1.0, gt=0, le=1e6, allow_inf_nan=False)

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name in dict.fromkeys(features) if features.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice; name each node once and raise feature_weight instead")
        return features

    @property
    def teaches(self) -> bool:
        """Whether it changes the loss at all."""
        return self.weight > 0 or bool(self.features)
