"""The units of a model that can be removed whole, what each of them costs, and what is frozen and why.

A group holds the units that are born on the same axis. Its units fall into parts: units of one part occur equally often
on every axis of every value, so that parameters and multiply-accumulates (MACs) depend only on how many units of each
part stay. That is what makes an exact forecast possible without torch and without the file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from secateur.record import Record

UnitKind = Literal["channel", "neuron", "head"]

SCORED_UNITS = 200_000


class Axis(Record):
    """The length of one axis: `fixed`, and for each (part, times) `times` entries for every unit of the part."""

    fixed: int = Field(ge=0)
    parts: tuple[tuple[int, int], ...] = ()


class Term(Record):
    """A product: the lengths of the axes, times `factor`."""

    factor: int = Field(default=1, ge=0)
    axes: tuple[Axis, ...] = ()


class Part(Record):
    """Units of one group that cost the same, by the index of the group."""

    group: int = Field(ge=0)
    size: int = Field(ge=1)


class UnitGroup(Record):
    """Units that are born on one axis; a unit is removed from all tensors that it occurs in at once."""

    name: str = Field(description="The weight that first gives these units.", examples=["layer1.0.conv1.weight"])
    kind: UnitKind
    size: int = Field(ge=1, description="Number of units.")
    births: tuple[str, ...] = Field(
        description="All weights whose output axis gives these units (a residual stream has several). The patterns of "
        "prune.layers match these names."
    )
    tensors: tuple[str, ...] = Field(description="`name:axis` of every tensor that gets shorter.")
    share: float = Field(description="Of the network's parameters: those that go when all units of the group go.")
    parameters_per_unit: float = Field(description="Parameters that go with one unit, on average.")
    macs_per_unit: float = Field(description="Multiply-accumulates an example that go with one unit, on average.")
    rows: float = Field(
        ge=1,
        description="Rows of these weights that make a unit, on average: one of each layer that writes to a stream, "
        "and as many as the size of a head.",
    )
    part: tuple[int, ...] = Field(
        description="The index of each unit's part; a single number where all units are in one."
    )
    l1: tuple[float, ...] = Field(
        default=(),
        description="Score of each unit: its share of what is left of the group when its turn comes. Empty in lists "
        "and where not stored.",
    )
    l2: tuple[float, ...] = ()


class FrozenNode(Record):
    """A place where the analysis stopped: what crosses it keeps its size."""

    node: str = Field(description="The node of the graph.")
    why: str
    parameters: tuple[str, ...] = Field(default=(), description="`name:axis` of what keeps its length because of it.")
    way: tuple[str, ...] = Field(default=(), description="The nodes from there to the parameter.")


class ModelUnits(Record):
    """All units of a model."""

    groups: tuple[UnitGroup, ...]
    parts: tuple[Part, ...]
    parameters: tuple[Term, ...] = Field(description="One for each distinct parameter; their sum is the number of all.")
    macs: tuple[Term, ...] = Field(description="For a batch of `batch` examples.")
    batch: int = Field(ge=1)
    occupied: tuple[tuple[int, ...], ...] = Field(
        default=(), description="Sets of parts of which at least one unit stays, besides the one of each group."
    )
    frozen: tuple[FrozenNode, ...] = ()
    prunable_share: float = Field(
        description="The share of the parameters that have at least one axis with removable units."
    )

    @property
    def scored(self) -> bool:
        """Whether the scores of all units are stored; models of more than SCORED_UNITS units come without."""
        return all(len(group.l1) == len(group.l2) == group.size for group in self.groups)

    def without_scores(self) -> ModelUnits:
        """The same for lists: scores and the parts of single units, megabytes of a large model, are left out."""
        bare = {"part": (), "l1": (), "l2": ()}
        return self.model_copy(update={"groups": tuple(group.model_copy(update=bare) for group in self.groups)})
