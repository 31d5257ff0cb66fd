"""What a selection compares: what a group loses with a unit, and what a row of the unit costs."""

from __future__ import annotations

import pytest

from secateur.removal import priced, select
from secateur.removal.prices import stored_scores
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
    assert priced(known, asked(kind), SCORES) == [*map(list, expected)]
    assert stored_scores(known, asked(kind)) == [*map(list, expected)]


def test_what_many_layers_write_to_is_as_dear_as_what_one_does() -> None:
    stream = units(macs_per_unit=(2.0, 34.0), rows=(1.0, 17.0))
    plain = units(macs_per_unit=(2.0, 2.0))
    assert priced(stream, asked("macs"), SCORES) == priced(plain, asked("macs"), SCORES)


@pytest.mark.parametrize(("scope", "expected"), [("global", set()), ("layer", {2, 1})])
def test_what_costs_nothing_goes_last_in_the_order_of_its_scores(scope: str, expected: set[int]) -> None:
    scores = ((0.75, 0.5, 0.25, 1.0), (1.0, 0.125, 0.5, 0.25))
    known = Chain([[4], [4]], scores).units
    free = known.groups[0].model_copy(update={"macs_per_unit": 0.0})
    known = known.model_copy(update={"groups": (free, known.groups[1])})
    wanted = asked("macs", scope=scope)
    found = priced(known, wanted, scores)
    assert min(found[0]) > max(found[1])
    assert set(select(known, wanted, found, 0.6).get("layers.0.weight", ())) == expected


def test_units_that_save_nothing_stay_when_a_target_is_out_of_reach() -> None:
    known = Chain([[4], [4]], ((0.25, 0.5, 0.75, 1.0), (0.25, 0.5, 0.75, 1.0))).units
    terms = tuple(term for term in known.macs if not any(part == 0 for axis in term.axes for part, _ in axis.parts))
    free = known.groups[0].model_copy(update={"macs_per_unit": 0.0})
    known = known.model_copy(update={"groups": (free, known.groups[1]), "macs": terms})
    wanted = asked("macs", 0.9)
    assert select(known, wanted, stored_scores(known, wanted), 0.9) == {"layers.1.weight": frozenset({0, 1, 2})}


def test_alike_units_are_expected_where_no_scores_are_stored() -> None:
    bare = units().model_copy(update={"groups": tuple(g.model_copy(update={"l2": ()}) for g in units().groups)})
    assert stored_scores(bare, asked("units")) == [[0.5, 1.0], [0.5, 1.0]]


def test_a_random_draw_is_compared_as_it_is() -> None:
    known = units(macs_per_unit=(4.0, 1.0))
    assert priced(known, asked("macs", importance={"kind": "random"}), SCORES) == SCORES
    assert stored_scores(known, asked("macs", importance={"kind": "random"})) == [[0.25, 0.75], [0.25, 0.75]]
