"""The pure parts of the accuracy table: what is compared, what is said of it, and how long a recipe trains."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter
from scipy import stats

from benchmarks.accuracy import page, plan, recipes
from benchmarks.accuracy.candidates import CANDIDATES, FINALISTS
from benchmarks.accuracy.cell import OURS as OUR_METHOD
from benchmarks.accuracy.cell import Cell, Outcome
from benchmarks.accuracy.comparison import Paired, best, holds
from benchmarks.accuracy.match import matches
from benchmarks.accuracy.point import POINTS, Point
from benchmarks.accuracy.recipe import EPOCHS, Recipe
from benchmarks.accuracy.row import Row, rows
from secateur.spec.prune import Prune
from secateur.spec.recover import FineTune, Recover
from worker.pruning.schedules import amounts

OURS, THEIRS = [0.91, 0.95, 0.93, 0.96, 0.90], [0.90, 0.93, 0.94, 0.94, 0.89]


def test_the_paired_difference_and_its_error_are_those_of_scipy() -> None:
    paired = Paired(OURS, THEIRS)
    test = stats.ttest_rel(OURS, THEIRS)
    assert paired.difference / paired.standard_error == pytest.approx(test.statistic)


def test_ahead_and_behind_mean_more_than_one_standard_error() -> None:
    ahead, behind, level = Paired(OURS, THEIRS), Paired(THEIRS, OURS), Paired([0.9, 0.8], [0.8, 0.9])
    assert (ahead.ahead, ahead.behind) == (True, False)
    assert (behind.ahead, behind.behind) == (False, True)
    assert (level.ahead, level.behind) == (False, False)
    assert [holds(side, must_be_ahead=False) for side in (ahead, behind, level, None)] == [True, False, True, False]
    assert [holds(side, must_be_ahead=True) for side in (ahead, behind, level, None)] == [True, False, False, False]


def test_equal_accuracies_are_not_behind_and_not_ahead() -> None:
    same = Paired([0.9, 0.9], [0.9, 0.9])
    assert not same.ahead
    assert not same.behind


def test_one_seed_decides_nothing() -> None:
    paired = Paired([0.9], [0.8])
    assert math.isnan(paired.standard_error)
    assert not holds(paired, must_be_ahead=True)


def test_the_best_has_the_highest_mean() -> None:
    assert best({"first": [0.9, 0.7], "second": [0.85, 0.85], "third": [0.85, 0.85]}) == "second"


@pytest.mark.parametrize(("rounds", "per_round"), [(1, 0), (5, 2), (10, 1), (4, 0)])
def test_every_recipe_trains_equally_long_in_the_terms_of_a_job(rounds: int, per_round: int) -> None:
    dense = FineTune(learning_rate=0.05)
    terms = Recipe(0.1, rounds, per_round).terms(dense)
    recover = FineTune.model_validate(terms["recover"])
    assert sum(recover.epochs_in(number, rounds) for number in range(1, rounds + 1)) == EPOCHS
    assert recover.rate == pytest.approx(0.005)
    assert terms["prune"]["schedule"]["rounds"] == len(amounts(rounds, 0.9))


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_every_candidate_is_something_that_a_job_can_be_told(point: Point) -> None:
    for dense in recipes.DENSE.values():
        for candidate in CANDIDATES[point.kind].values():
            terms = candidate.terms(dense)
            TypeAdapter(Prune).validate_python({**point.prune, **terms["prune"]})
            TypeAdapter(Recover).validate_python(terms["recover"])


def test_ours_has_no_learning_rate_that_the_others_could_not_choose() -> None:
    taken = {CANDIDATES[kind][name].rate for kind, name in recipes.OURS.items()}
    assert taken <= set(recipes.RATES)
    assert all(rate in recipes.RATES for rates in recipes.PEER_RATES.values() for rate in rates.values())


def test_what_is_frozen_is_one_of_the_candidates() -> None:
    assert recipes.OURS.keys() == {point.kind for point in POINTS}
    assert all(name in CANDIDATES[kind] for kind, name in recipes.OURS.items())
    assert frozenset(recipes.OURS.values()) <= FINALISTS <= frozenset().union(*CANDIDATES.values())


def final(accuracy: dict[str, float], failing: str = "") -> list[Row]:
    """The final table where each method has an accuracy, a little more with each seed, and one of them fails once."""

    def outcome(cell: Cell) -> Outcome | str:
        if cell.method == failing and cell.seed == recipes.FINAL_SEEDS[0]:
            return "ApiError: it broke"
        reached = accuracy.get(cell.method, 0.5) + cell.seed * (0.002 if cell.method == OUR_METHOD else 0.001)
        return Outcome(dense=0.9, accuracy=reached, left=0.1, total=100, steps=320, wall_s=1.0)

    cells = plan.final()
    return rows(cells, [outcome(cell) for cell in cells])


def test_ours_is_compared_with_the_best_of_the_others_under_the_same_seeds() -> None:
    found = matches(final({OUR_METHOD: 0.8, "torch iterative": 0.7, "Torch-Pruning Taylor": 0.7}))
    assert {match.rival for match in found} == {"torch iterative", "Torch-Pruning Taylor"}
    assert all(match.holds for match in found)
    assert [match.difference for match in found] == ["+10.50 ± 0.07"] * len(recipes.NETWORKS) * len(POINTS)


def test_the_target_does_not_hold_where_ours_is_no_better() -> None:
    text = page.final(final({OUR_METHOD: 0.6, "torch one-shot": 0.7}), "Machine: one.")
    assert "The target DOES NOT HOLD" in text
    assert "ours - torch one-shot -9.50" in text


@pytest.mark.parametrize("failing", [OUR_METHOD, "torch one-shot"])
def test_a_cell_that_failed_is_said_and_leaves_nothing_to_compare(failing: str) -> None:
    found = final({OUR_METHOD: 0.8}, failing)
    text = page.final(found, "Machine: one.")
    assert f"cnn 80% weights seed 3 {failing}" in text
    assert "ApiError: it broke" in text
    assert "(1 failed)" in text
    assert not any(match.holds for match in matches(found) if match.ours.point.kind == "sparsity")
    assert "ApiError: it broke" in page.as_json(found)


def test_what_was_tried_is_summed_up_over_the_points_of_a_recipe() -> None:
    text = page.choice(final({OUR_METHOD: 0.8, "torch one-shot": 0.7}), "Machine: one.")
    assert f"| cnn | sparsity | {OUR_METHOD} | {recipes.OURS['sparsity']} | 5 | 81.00% |" in text


def test_a_candidate_that_has_not_all_seeds_is_listed_and_not_compared() -> None:
    found = final({OUR_METHOD: 0.8})
    short = replace(
        found[0], method=OUR_METHOD, variant="dropped", cells=found[0].cells[:1], outcomes=found[0].outcomes[:1]
    )
    assert matches([*found, short]) == matches(found)
    text = page.choice([*found, short], "Machine: one.")
    assert f"| cnn | sparsity | {OUR_METHOD} | dropped | 1 |" in text
