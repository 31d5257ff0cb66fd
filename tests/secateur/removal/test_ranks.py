"""What a selection compares: what a group loses with a unit, and what a row of the unit costs."""

from __future__ import annotations

from math import inf

import pytest

from secateur.removal import ranked
from secateur.removal.ranks import stored_ranks
from secateur.units import ModelUnits
from tests.secateur.removal.chain import Chain, asked

SCORES = ((0.25, 1.0), (0.5, 1.0))


def units(**fields: tuple[float, float]) -> ModelUnits:
    """Two groups of two; the fields hold the numbers of the first and of the second."""
    found = Chain([[2], [2]], SCORES).units
    groups = (
        group.model_copy(update={name: pair[at] for name, pair in fields.items()})
        for at, group in enumerate(found.groups)
    )
    return found.model_copy(update={"groups": tuple(groups)})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("units", SCORES), ("parameters", ((0.25, 1.0), (0.25, 0.5))), ("macs", ((0.125, 0.5), (0.5, 1.0)))],
)
def test_a_score_counts_over_the_square_root_of_what_the_target_counts(
    kind: str, expected: tuple[tuple[float, ...], ...]
) -> None:
    known = units(parameters_per_unit=(1.0, 4.0), macs_per_unit=(4.0, 1.0))
    assert ranked(known, asked(kind), SCORES) == [*map(list, expected)]
    assert stored_ranks(known, asked(kind)) == [*map(list, expected)]


def test_what_many_layers_write_to_is_as_dear_as_what_one_does() -> None:
    stream = units(macs_per_unit=(2.0, 34.0), rows=(1.0, 17.0))
    plain = units(macs_per_unit=(2.0, 2.0))
    assert ranked(stream, asked("macs"), SCORES) == ranked(plain, asked("macs"), SCORES)


def test_what_costs_nothing_goes_last() -> None:
    assert ranked(units(macs_per_unit=(0.0, 1.0)), asked("macs"), SCORES)[0] == [inf, inf]


def test_a_random_draw_is_compared_as_it_is() -> None:
    known = units(macs_per_unit=(4.0, 1.0))
    assert ranked(known, asked("macs", importance={"kind": "random"}), SCORES) == SCORES
    assert stored_ranks(known, asked("macs", importance={"kind": "random"})) == [(0.25, 0.75), (0.25, 0.75)]
