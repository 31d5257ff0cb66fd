"""Which unit groups a job prunes: its granularity and its patterns against what the model has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from secateur.errors import NothingMatches, NothingPrunable
from secateur.layers import matched, named
from secateur.spec.structured import Groups, PruneUnits
from secateur.units import ModelUnits, UnitGroup

_SHOWN = 3
_LENGTH = 100


def choose_groups(units: ModelUnits, prune: PruneUnits) -> list[int]:
    """The indices of the groups that are pruned, ascending.

    A group is chosen when it is of the granularity, a weight that it is born on matches an `include` pattern, and none
    that it is born on matches an `exclude` pattern.

    Raises:
        NothingPrunable: The model has no unit of this granularity.
        NothingMatches: An `include` pattern matches no group of this granularity, an `exclude` pattern no group at all,
            or nothing is left.
    """
    there = [index for index, group in enumerate(units.groups) if prune.granularity in ("unit", group.kind)]
    if not there:
        raise NothingPrunable(_none(units, prune.granularity), remedy=_remedy(units))
    births = _births(units.groups[index] for index in there)
    wanted = matched(prune.layers.include, births, "include", f"weight that {prune.granularity}s are born on")
    unwanted = matched(prune.layers.exclude, _births(units.groups), "exclude", "weight that units are born on")
    chosen = [index for index in there if _born_on(units.groups[index], wanted, unwanted)]
    if not chosen:
        raise NothingMatches(_excluded(prune.layers, units, there), remedy="Exclude less, or include more.")
    return chosen


def _births(groups: Iterable[UnitGroup]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.births))


def _born_on(group: UnitGroup, wanted: set[str], unwanted: set[str]) -> bool:
    return any(name in wanted for name in group.births) and not any(name in unwanted for name in group.births)


def _none(units: ModelUnits, granularity: str) -> str:
    what = "unit" if granularity == "unit" else f"unit of the kind {granularity}"
    offered = Counter(group.kind for group in units.groups)
    sizes = {kind: sum(group.size for group in units.groups if group.kind == kind) for kind in offered}
    has = ", ".join(f"{sizes[kind]} {kind}s in {number} group(s)" for kind, number in offered.items())
    frozen = "; ".join(f"{found.node[:_LENGTH]}: {found.why[:_LENGTH]}" for found in units.frozen[:_SHOWN])
    more = f" ({len(units.frozen)} places in all)" if len(units.frozen) > _SHOWN else ""
    return (
        f"The model has no {what} that can be removed; "
        + (f"it has {has}." if has else "it has no units at all.")
        + (f" Frozen: {frozen}{more}." if frozen else "")
    )


def _remedy(units: ModelUnits) -> str:
    kinds = list(dict.fromkeys(group.kind for group in units.groups))
    return f"Ask for granularity {' or '.join([*kinds, 'weight'])}."


def _excluded(layers: Groups, units: ModelUnits, there: Sequence[int]) -> str:
    births = [units.groups[index].births[0] for index in there]
    return (
        f"prune.layers leaves nothing to prune: every included group is born on a weight that is excluded "
        f"({_listed(layers.exclude)}). There are: {named(births)}."
    )


def _listed(patterns: Iterable[str]) -> str:
    return ", ".join(map(repr, list(patterns)[:_SHOWN]))
