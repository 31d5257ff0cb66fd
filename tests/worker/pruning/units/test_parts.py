"""What parts promise: after any removal, every axis of every value has the length that they give."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.units import Term
from tests.worker.pruning.structured.subject import Subject, subject
from tests.worker.pruning.units.conftest import Find, Found
from worker.pruning.cut import Cut
from worker.pruning.units.lines import Line, Side
from worker.pruning.units.units import removed_labels

NETS = (
    "shortcut padded with zeros",
    "dense concatenation",
    "channel shuffle as views",
    "split in unequal pieces",
    "slices that overlap",
    "every second channel",
    "a slice is written",
    "heads in the batch",
    "pixel shuffle",
    "grouped, the unit is an index in every group",
    "flatten gives a channel several columns",
    "grouped queries, expanded",
    "tokens mixed",
    "outer product",
)


def value(term: Term, kept: list[int]) -> int:
    """Written anew from the record's own words."""
    total = term.factor
    for axis in term.axes:
        total *= axis.fixed + sum(times * kept[part] for part, times in axis.parts)
    return total


def chosen_at_random(net: Subject | Found, seed: int) -> dict[str, list[int]]:
    generator = np.random.default_rng(seed)
    chosen = {}
    for group in net.described.groups:
        count = int(generator.integers(group.size))
        chosen[group.name] = sorted(generator.permutation(group.size)[:count].tolist())
    return chosen


def kept_after(net: Subject | Found, chosen: dict[str, list[int]]) -> list[int]:
    kept = [part.size for part in net.described.parts]
    for group in net.described.groups:
        for index in chosen[group.name]:
            kept[group.part[index] if len(group.part) > 1 else group.part[0]] -= 1
    return kept


@pytest.mark.parametrize("name", NETS)
def test_every_length_follows_from_the_parts(name: str) -> None:
    net = subject(name)
    for seed in range(3):
        chosen = chosen_at_random(net, seed)
        cut, kept = Cut(net.lab, removed_labels(net.units, chosen)), kept_after(net, chosen)
        for node, known in net.lab.values.of.items():
            tensors = (known,) if isinstance(known, Tensor) else known if isinstance(known, tuple) else ()
            for sides, axes, tensor in zip(net.units.lines.values(node), cut.items(node), tensors, strict=True):
                left = [
                    size if flags is None else int(flags.sum()) for size, flags in zip(tensor.shape, axes, strict=True)
                ]
                assert [value(net.units.parts.length(side), kept) for side in sides] == left, node


@pytest.mark.parametrize("name", NETS)
def test_units_of_a_group_that_occur_unequally_are_apart(name: str) -> None:
    """And those that occur equally are not: by counting on every line, one unit at a time."""
    net = subject(name)
    for group in net.units.groups:
        occurrences = [
            tuple(int((line.entries == label).sum()) for line in net.units.lines.distinct()) for label in group.labels
        ]
        parts = net.units.parts.of[group.labels].tolist()
        assert len(set(zip(parts, occurrences, strict=True))) == len(set(parts)) == len(set(occurrences))


@pytest.mark.parametrize("name", NETS)
def test_the_groups_and_their_parts_have_the_same_units(name: str) -> None:
    described = subject(name).described
    for index, group in enumerate(described.groups):
        sizes = {at: part.size for at, part in enumerate(described.parts) if part.group == index}
        assert sum(sizes.values()) == group.size
        counted = Counter(group.part) if len(group.part) > 1 else {group.part[0]: group.size}
        assert counted == sizes


@pytest.mark.parametrize("name", NETS)
def test_an_axis_is_empty_only_when_a_group_or_an_occupied_set_is(name: str) -> None:
    net = subject(name)
    parts = net.described.parts
    for gone in range(1, 1 << min(len(parts), 9)):
        kept = [0 if gone >> at & 1 else part.size for at, part in enumerate(parts)]
        whole = all(
            any(kept[at] for at, part in enumerate(parts) if part.group == group)
            for group in range(len(net.units.groups))
        )
        occupied = whole and all(any(kept[part] for part in needed) for needed in net.described.occupied)
        empty = any(side.size and value(net.units.parts.length(side), kept) == 0 for side in net.units.lines.sides())
        if whole:
            assert occupied != empty


class Flattened(nn.Module):
    """Tokens with units times channels with units, flattened into one axis and taken apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.channels = nn.Linear(5, 4), nn.Linear(3, 6)
        self.over_tokens, self.over_channels = nn.Linear(4, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channels(self.tokens(x).transpose(1, 2))
        x = torch.relu(x.flatten(1)).unflatten(1, (4, 6))
        return self.over_tokens(self.over_channels(x).transpose(1, 2))


def test_two_unit_axes_in_one(find: Find) -> None:
    net = find(Flattened(), [torch.randn(2, 3, 5)])
    assert {group.name: group.size for group in net.described.groups} == {"tokens.weight": 4, "channels.weight": 6}
    products = [side for side in net.units.lines.sides() if len(side.lines) == 2]
    assert products
    for seed in range(5):
        kept = kept_after(net, chosen_at_random(net, seed))
        assert {value(net.units.parts.length(side), kept) for side in products} == {kept[0] * kept[1]}


def test_axes_whose_labels_do_not_come_in_all_pairs_are_no_product() -> None:
    def side(*entries: list[int]) -> Side:
        return Side(len(entries[0]), tuple(Line.of(np.array(labels)) for labels in entries))

    assert side([1, 1, 2, 2], [3, 4, 3, 4]).separable
    assert side([1, 1, 1, 1, 2, 2], [3, 4, 3, 4, 3, 4]).separable
    assert not side([1, 1, 2, 2], [3, 4, 3, 3]).separable
    assert not side([1, 1, 2, 2], [3, 3, 4, 4]).separable
