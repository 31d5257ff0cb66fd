"""Parameters and multiply-accumulates of a network from the number of units that stay in each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import prod

from secateur.units import Axis, ModelUnits, Term, UnitGroup


def count_parameters(units: ModelUnits, kept: Sequence[int]) -> int:
    """Parameters of the network when `kept[p]` units of part p stay; a tied tensor counts once."""
    return _total(units.parameters, kept)


def count_macs(units: ModelUnits, kept: Sequence[int]) -> int:
    """Multiply-accumulates of one example when `kept[p]` units of part p stay."""
    return _total(units.macs, kept) // units.batch


def count_term(term: Term, kept: Sequence[int]) -> int:
    """A product of lengths when `kept[p]` units of part p stay."""
    return term.factor * prod(_length(axis, kept) for axis in term.axes)


def kept_per_part(units: ModelUnits, removed: Mapping[str, Collection[int]] | None = None) -> list[int]:
    """How many units of each part stay; `removed` holds the indices that are gone, by the name of the group."""
    kept = [part.size for part in units.parts]
    for group in units.groups:
        for part, gone in parts_of(group, (removed or {}).get(group.name, ())).items():
            kept[part] -= gone
    return kept


def parts_of(group: UnitGroup, members: Collection[int]) -> Mapping[int, int]:
    """How many of these units of a group lie in each of its parts."""
    if len(group.part) == 1:
        return {group.part[0]: len(members)} if members else {}
    return Counter(map(group.part.__getitem__, members))


def part_of(group: UnitGroup, member: int) -> int:
    """The part that a unit of a group lies in."""
    return group.part[0] if len(group.part) == 1 else group.part[member]


def _total(terms: Sequence[Term], kept: Sequence[int]) -> int:
    return sum(count_term(term, kept) for term in terms)


def _length(axis: Axis, kept: Sequence[int]) -> int:
    return axis.fixed + sum(times * kept[part] for part, times in axis.parts)
