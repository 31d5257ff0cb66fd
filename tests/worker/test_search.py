from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.search import COST, RESOLUTION, Trial, affordable, next_amount

LADDER = [0.5, 0.75, 0.9, 0.97]


def searched(limit: float, ladder: list[float]) -> list[Trial]:
    """Everything that is tried where amounts up to `limit` are within the budget."""
    trials: list[Trial] = []
    while (amount := next_amount(ladder, trials)) is not None:
        trials.append(Trial(amount, amount <= limit))
        assert len(trials) < 50
    return trials


ladders = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8, unique=True).map(sorted)


@given(limit=st.floats(0, 0.99), ladder=ladders)
def test_the_search_ends_close_below_the_limit(limit: float, ladder: list[float]) -> None:
    trials = searched(limit, ladder)
    good = max((each.amount for each in trials if each.good), default=0.0)
    assert good <= limit
    reachable = min(limit, ladder[-1])
    assert (1 - good) - (1 - reachable) <= RESOLUTION * (1 - good) + 1e-12


@given(limit=st.floats(0, 0.99), ladder=ladders)
def test_no_amount_is_tried_twice_and_each_lies_where_nothing_is_known(limit: float, ladder: list[float]) -> None:
    trials = searched(limit, ladder)
    assert len({each.amount for each in trials}) == len(trials)
    for number, each in enumerate(trials):
        before = trials[:number]
        assert all(each.amount > other.amount for other in before if other.good)
        assert all(each.amount < other.amount for other in before if not other.good)


def test_the_ladder_is_climbed_first() -> None:
    assert [each.amount for each in searched(1.0, LADDER)] == LADDER
    trials = searched(0.8, LADDER)
    assert [each.amount for each in trials[:3]] == LADDER[:3]
    assert trials[3].amount == 1 - (0.25 * (1 - 0.9)) ** 0.5


def test_the_search_trains_at_most_three_times_as_long_as_a_single_job() -> None:
    assert affordable(10, COST * 10 - 4, 4)
    assert not affordable(10, COST * 10 - 4, 5)
    assert affordable(0, 0, 0)
