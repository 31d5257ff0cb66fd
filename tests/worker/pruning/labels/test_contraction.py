"""The contract rule, case by case, without a graph."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from worker.pruning.labels.book import Book
from worker.pruning.labels.contraction import NEUTRAL, PRODUCT, Operand, contract
from worker.pruning.labels.planes import Plane, along_axis


@pytest.fixture
def book() -> Book:
    book = Book()
    book.node = fx.Graph().placeholder("x")
    return book


def lines(book: Book, name: str, shape: tuple[int, ...], *axes: int) -> list[Plane]:
    """A plane for each of the axes."""
    return [along_axis(book.labels((name, axis), shape[axis]), axis, shape) for axis in axes]


def same(book: Book, one: tuple[str, int], other: tuple[str, int], size: int) -> bool:
    return torch.equal(book.labels(one, size), book.labels(other, size))


def frozen(book: Book, key: tuple[str, int], size: int) -> bool:
    return not book.labels(key, size).any()


def test_a_linear_layer_ties_its_inputs_and_gives_its_outputs(book: Book) -> None:
    x = Operand(lines(book, "x", (2, 5), 1), (2, 5), ["n", "k"])
    w = Operand(lines(book, "w", (4, 5), 0, 1), (4, 5), ["o", "k"], constant=True)
    (result,) = contract(book, [x, w], ["n", "o"], (2, 4))
    book.solve()
    assert result.axes == {1}
    assert result.along(1).tolist() == book.labels(("w", 0), 4).tolist()
    assert same(book, ("x", 1), ("w", 1), 5)


def test_an_input_without_units_freezes_the_axis_of_the_weight_that_meets_it(book: Book) -> None:
    x = Operand([], (2, 5), ["n", "k"])
    w = Operand(lines(book, "w", (4, 5), 0, 1), (4, 5), ["o", "k"], constant=True)
    contract(book, [x, w], ["n", "o"], (2, 4))
    book.solve()
    assert frozen(book, ("w", 1), 5)
    assert not frozen(book, ("w", 0), 4)
    assert [freeze.why for freeze in book.freezes] == [NEUTRAL]


def test_summing_over_the_head_size_leaves_heads(book: Book) -> None:
    labels = {name: book.labels((name, 0), 6) for name in "qk"}
    q, k = (Operand([Plane(labels[name].view(1, 2, 1, 3).expand(2, 2, 5, 3))], (2, 2, 5, 3), []) for name in "qk")
    q, k = (Operand(one.planes, one.shape, ["b", "h", side, "d"]) for one, side in ((q, "m"), (k, "n")))
    heads: set[int] = set()
    (scores,) = contract(book, [q, k], ["b", "h", "m", "n"], (2, 2, 5, 5), heads=heads)
    book.solve()
    assert scores.axes == {1}
    assert book.labels(("q", 0), 6).view(2, 3).unique(dim=1).shape == (2, 1)
    assert same(book, ("q", 0), ("k", 0), 6)
    assert heads == set(scores.along(1).tolist())


@pytest.mark.parametrize("full", [True, False])
def test_a_mask_freezes_heads_only_at_full_size(book: Book, full: bool) -> None:
    shape = (2, 4, 3, 3)
    scores = Operand(lines(book, "s", shape, 1), shape, list("bhmn"))
    mask = Operand([], (2, 4 if full else 1, 3, 3), list("bhmn"))
    result = contract(book, [scores, mask], list("bhmn"), shape)
    book.solve()
    assert frozen(book, ("s", 1), 4) == full
    assert bool(result) != full


def test_a_table_that_knows_one_axis_of_two_waits_until_heads_are_known(book: Book) -> None:
    shape = (2, 4, 6)
    both = Plane(book.labels("q", 24).view(1, 4, 6).expand(shape))
    table = Operand(lines(book, "t", (6,), 0), (6,), ["d"], constant=True)
    contract(book, [Operand([both], shape, list("bhd")), table], list("bhd"), shape)
    assert not book.solve()
    heads = Plane(book.labels("h", 4).view(1, 4, 1).expand(shape))
    contract(book, [Operand([heads], shape, list("bhd")), table], list("bhd"), shape)
    book.solve()
    assert frozen(book, ("t", 0), 6)
    assert book.labels("h", 4).all()


def test_an_expanded_axis_gives_way_to_real_units_on_the_same_axis(book: Book) -> None:
    """Grouped queries: keys (g, d) expanded r times and flattened meet the heads of the queries."""
    groups = book.labels("kv", 2)
    repeats = book.labels("repeat", 3, soft=True)
    keys = [
        Plane(groups.view(2, 1).expand(2, 3).reshape(1, 6, 1).expand(1, 6, 5)),
        Plane(repeats.view(1, 3).expand(2, 3).reshape(1, 6, 1).expand(1, 6, 5)),
    ]
    q = Operand(lines(book, "q", (1, 6, 5), 1), (1, 6, 5), list("bhk"))
    contract(book, [q, Operand(keys, (1, 6, 5), list("bhk"))], list("bh"), (1, 6))
    book.solve()
    assert frozen(book, "repeat", 3)  # type: ignore[arg-type]
    assert book.labels(("q", 1), 6).view(2, 3).unique(dim=1).shape == (2, 1)
    assert torch.equal(book.labels(("q", 1), 6).view(2, 3)[:, 0], book.labels("kv", 2))


def test_of_two_kinds_of_units_flattened_into_one_axis_the_fewer_are_frozen(book: Book) -> None:
    one = Plane(book.labels("a", 4).view(4, 1).expand(4, 2).reshape(1, 8))
    other = Plane(book.labels("b", 2).view(1, 2).expand(4, 2).reshape(1, 8))
    flat = Operand([one, other], (1, 8), ["n", "k"])
    weight = Operand(lines(book, "w", (3, 8), 1), (3, 8), ["o", "k"], constant=True)
    contract(book, [flat, weight], ["n", "o"], (1, 3), stable=False)
    assert not book.solve()
    contract(book, [flat, weight], ["n", "o"], (1, 3), stable=True)
    book.solve()
    assert frozen(book, "b", 2)  # type: ignore[arg-type]
    assert [freeze.why for freeze in book.freezes] == [PRODUCT]
    assert len(set(book.labels("a", 4).tolist())) == 4
