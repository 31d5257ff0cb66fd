"""The split: disjoint, whole, in proportion, and a function of the seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.errors import EmptyDataset
from worker.recovery.data import Dataset
from worker.recovery.order import permutation, seed_of
from worker.recovery.split import split

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def labelled(make: Callable[..., Dataset], labels: list[int]) -> Dataset:
    return make(torch.zeros(len(labels), 1), torch.tensor(labels))


@quick
@given(
    labels=st.lists(st.integers(-1, 6), min_size=2, max_size=120),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63 - 1),
    stratify=st.booleans(),
)
def test_every_example_is_on_exactly_one_side_and_none_is_empty(
    make_dataset: Callable[..., Dataset], labels: list[int], share: float, seed: int, stratify: bool
) -> None:
    train, validation = split(labelled(make_dataset, labels), share, seed, stratify)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert len(train) > 0
    assert len(validation) > 0


@quick
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 1000),
)
def test_each_label_keeps_its_proportion_and_one_example_to_train_on(
    make_dataset: Callable[..., Dataset], counts: list[int], share: float, seed: int
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    _, validation = split(labelled(make_dataset, labels), share, seed, stratify=True)
    taken = np.bincount(np.array(labels)[validation], minlength=len(counts))
    for count, got in zip(counts, taken, strict=True):
        assert got <= count - 1
        assert min(int(count * share), count - 1) <= got <= int(count * share) + 1


def test_the_share_is_exact_where_labels_are_frequent(make_dataset: Callable[..., Dataset]) -> None:
    labels = [index % 7 for index in range(1000)]
    _, validation = split(labelled(make_dataset, labels), 0.1, 3, stratify=True)
    assert len(validation) == 100


def test_what_the_shares_leave_over_goes_to_the_largest_remainders(make_dataset: Callable[..., Dataset]) -> None:
    labels = [0] * 12 + [1] * 19 + [2] * 11
    _, validation = split(labelled(make_dataset, labels), 0.1, 0, stratify=True)
    assert np.bincount(np.array(labels)[validation]).tolist() == [1, 2, 1]


def test_the_seed_decides(make_dataset: Callable[..., Dataset]) -> None:
    dataset = labelled(make_dataset, [index % 3 for index in range(200)])
    first, again, other = (split(dataset, 0.2, seed, stratify=True)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_that_are_all_different_are_split_all_the_same(make_dataset: Callable[..., Dataset]) -> None:
    _, validation = split(labelled(make_dataset, list(range(10))), 0.3, 0, stratify=True)
    assert len(validation) == 3


def test_maps_of_labels_and_floats_are_split_plainly(make_dataset: Callable[..., Dataset]) -> None:
    maps = make_dataset(torch.zeros(10, 1), torch.zeros(10, 4, dtype=torch.int64))
    assert len(split(maps, 0.2, 0, stratify=True)[1]) == 2


def test_one_example_cannot_be_split(make_dataset: Callable[..., Dataset]) -> None:
    with pytest.raises(EmptyDataset, match="at least 2"):
        split(labelled(make_dataset, [0]), 0.5, 0, stratify=False)


@settings(deadline=None)
@given(length=st.integers(0, 300), key=st.lists(st.integers(0, 2**63 - 1), max_size=4))
def test_orders_are_permutations_and_repeat(length: int, key: list[int]) -> None:
    order = permutation(length, *key)
    assert sorted(order) == list(range(length))
    assert np.array_equal(order, permutation(length, *key))


def test_keys_of_different_length_or_value_give_different_orders() -> None:
    keys = [(0,), (0, 0), (0, 0, 0), (1,), (2**32,), (0, 1), (1, 0)]
    assert len({tuple(permutation(20, *key)) for key in keys}) == len(keys)
    assert len({seed_of(*key) for key in keys}) == len(keys)


def test_orders_are_the_same_on_every_machine() -> None:
    assert permutation(8, 5, 1).tolist() == [1, 6, 7, 3, 0, 2, 5, 4]
