"""In every hand-made net exactly the units are found that theory says are there, and what is frozen is named."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from secateur.removal.counts import count_macs, count_parameters, kept_per_part
from tests.worker.pruning.structured.nets.table import CASES
from tests.worker.pruning.structured.subject import Subject, subject
from worker.pruning.labels.labelling import label
from worker.pruning.surgery.operate import operate
from worker.pruning.units.describe import describe
from worker.pruning.units.units import find_units

FROZEN = [name for name, case in CASES.items() if case.frozen]


def found(net: Subject) -> dict[str, list[int]]:
    """The sizes of the groups of each kind."""
    sizes: dict[str, list[int]] = {}
    for group in net.described.groups:
        sizes.setdefault(group.kind, []).append(group.size)
    return {kind: sorted(of_kind) for kind, of_kind in sizes.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_groups_are_those_of_theory(name: str) -> None:
    assert found(subject(name)) == {kind: sorted(sizes) for kind, sizes in CASES[name].groups.items()}


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen_names_its_node_its_reason_and_the_way(name: str) -> None:
    net = subject(name)
    nodes = {node.name for node in net.lab.program.module.graph.nodes}
    for pattern, parameter in CASES[name].frozen:
        places = [frozen for frozen in net.described.frozen if parameter in frozen.parameters]
        assert places, f"nothing says why {parameter} is frozen"
        assert any(fnmatchcase(place.node, pattern) for place in places), [place.node for place in places]
        assert all(place.why and place.node in nodes and set(place.way) <= nodes for place in places)


@pytest.mark.parametrize("name", CASES)
def test_what_a_removal_leaves_is_known_before(name: str) -> None:
    net = subject(name)
    kept = kept_per_part(net.described, net.chosen(0.5, seed=6))
    sliced = operate(net.lab, net.cut(0.5, seed=6))
    assert count_parameters(net.described, kept) == sum(tensor.numel() for _, tensor in sliced.named_parameters())
    lab = label(sliced)
    counted = describe(find_units(lab), lab)
    assert count_macs(net.described, kept) == count_macs(counted, kept_per_part(counted))
