"""The book of labels: uniting is an equivalence, 0 absorbs, soft is who has only soft kin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from worker.pruning.labels.book import MANY, Book
from worker.pruning.labels.planes import Plane, along_axis


@pytest.fixture
def book() -> Book:
    return fresh()


def fresh() -> Book:
    book = Book()
    book.node = fx.Graph().placeholder("x")
    return book


def classes(labels: torch.Tensor) -> set[frozenset[int]]:
    places: dict[int, set[int]] = {}
    for place, label in enumerate(labels.tolist()):
        places.setdefault(label, set()).add(place)
    return {frozenset(members) for members in places.values()}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_united_labels_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    book = fresh()
    born = book.labels("a", 10)
    for one, other in pairs:
        book.unite(born[one : one + 1], born[other : other + 1])
    book.solve()
    sets = [{place} for place in range(10)]
    for one, other in pairs:
        joined = set().union(*(s for s in sets if one in s or other in s))
        sets = [s for s in sets if not s & joined] + [joined]
    assert classes(book.labels("a", 10)) == set(map(frozenset, sets))


def test_what_is_united_with_the_frozen_is_frozen_and_a_second_solve_changes_nothing(book: Book) -> None:
    a, b = book.labels("a", 3), book.labels("b", 3)
    book.unite(a, b)
    book.freeze(b[:1], "because")
    assert book.solve()
    assert (book.labels("a", 3) == 0).tolist() == [True, False, False]
    assert not book.solve()
    assert [freeze.why for freeze in book.freezes] == ["because"]


def test_many_pairs_are_united_as_few_are(book: Book) -> None:
    count = 2 * MANY
    book.unite(book.labels("a", count), book.labels("b", count))
    book.solve()
    assert torch.equal(book.labels("a", count), book.labels("b", count))
    assert len(classes(book.labels("a", count))) == count


def test_a_unit_is_soft_while_only_literals_are_in_it(book: Book) -> None:
    soft, other, hard = (book.labels(key, 2, soft=key != "hard") for key in ("soft", "other", "hard"))
    book.unite(soft, other)
    book.solve()
    assert book.soft(Plane(book.labels("soft", 2)))
    book.unite(book.labels("other", 2), hard)
    book.solve()
    assert not book.soft(Plane(book.labels("soft", 2)))


def test_uniting_along_axes_leaves_the_others(book: Book) -> None:
    plane = Plane(book.labels("heads", 6).view(2, 3))
    first = book.unite_along(plane, frozenset((1,)))
    book.solve()
    assert first.axes == {0}
    assert classes(book.labels("heads", 6)) == {frozenset((0, 1, 2)), frozenset((3, 4, 5))}


def test_one_unit_on_a_whole_value_is_frozen_and_planes_are_kept_once(book: Book) -> None:
    labels = book.labels("a", 3)
    plane = along_axis(labels, 0, (3, 2))
    whole = Plane(labels[:1].view(1, 1).expand(3, 2))
    kept = book.settle([plane, along_axis(labels, 0, (3, 2)), whole, Plane(torch.zeros(3, 2, dtype=torch.int64))])
    assert kept == (plane,)
    book.solve()
    assert (book.labels("a", 3) == 0).tolist() == [True, False, False]
