"""What stays of every value, and the way from a full tensor to a small one and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import SurgeryFailed
from tests.worker.pruning.cutting import EXAMPLES, Net, cut_of, flags, program_of
from worker.program.program import Program, named_tensors
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import label


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    parts = {
        "a": nn.Conv2d(3, 6, 3),
        "norm": nn.BatchNorm2d(6),
        "b": nn.Linear(6, 4),
        "order": torch.randperm(6),
        "spare": nn.Linear(2, 3),
    }

    def function(net: Net, x: Tensor) -> Tensor:
        first, second = net.norm(net.a(x)).relu().split([2, 4], dim=1)
        joined = torch.cat([second, first], 1).mean((2, 3))
        return net.b(torch.index_select(joined, 1, net.order))

    return program_of(Net(function, **parts), torch.randn(EXAMPLES, 3, 5, 5))


@pytest.fixture(scope="module")
def cut(program: Program) -> Cut:
    return cut_of(program, {"a.weight:0": (1, 4)})[1]


STAYS = [True, False, True, True, False, True]


def _node(cut: Cut, start: str) -> torch.fx.Node:
    return next(node for node in cut.lab.program.module.graph.nodes if node.name.startswith(start))


def test_what_stays_of_parameters_follows_the_unit(cut: Cut) -> None:
    for name in ("a.weight", "a.bias", "norm.weight", "norm.running_var"):
        first, *others = cut.tensor(name)
        assert first is not None
        assert first.tolist() == STAYS
        assert others == [None] * len(others)
    assert cut.tensor("b.weight")[0] is None
    columns = cut.tensor("b.weight")[1]
    assert columns is not None
    order = torch.tensor([2, 3, 4, 5, 0, 1])[cut.lab.program.module.get_buffer("order")]
    assert columns.tolist() == torch.tensor(STAYS)[order].tolist()


def test_what_no_unit_crosses_stays_whole(cut: Cut) -> None:
    for name in ("b.bias", "order", "spare.weight"):
        assert set(cut.tensor(name)) == {None}
    assert cut.shape(_node(cut, "a_weight")) == (4, 3, 3, 3)
    assert cut.shape(_node(cut, "linear")) == (cut.lab.values.batch, 4)
    assert not cut.touches(_node(cut, "linear"))


def test_each_piece_has_its_own_survivors(cut: Cut) -> None:
    pieces = [axes[1] for axes in cut.items(_node(cut, "split"))]
    assert [piece.tolist() for piece in pieces if piece is not None] == [STAYS[:2], STAYS[2:]]


def test_slice_of_scatter_is_what_was_scattered(cut: Cut, program: Program) -> None:
    for name, tensor in named_tensors(program.module):
        if not tensor.is_floating_point():
            continue
        small = torch.randn(cut.slice(name, tensor).shape)
        into = torch.full_like(tensor, torch.nan)
        cut.scatter(name, small, into)
        assert torch.equal(cut.slice(name, into), small)


def test_scatter_leaves_nothing_where_units_are_gone(cut: Cut) -> None:
    into = torch.full((6, 3, 3, 3), torch.nan)
    cut.scatter("a.weight", torch.ones(4, 3, 3, 3), into)
    assert torch.equal(into[[1, 4]], torch.zeros(2, 3, 3, 3))
    assert int(into.sum()) == 4 * 27


def test_scatter_writes_to_a_view_of_anything(cut: Cut) -> None:
    base = torch.full((3, 3, 3, 6), 7.0)
    cut.scatter("a.weight", torch.ones(4, 3, 3, 3, dtype=torch.float64), base.permute(3, 0, 1, 2))
    assert base.sum((0, 1, 2)).tolist() == [27.0, 0.0, 27.0, 27.0, 0.0, 27.0]


def test_indices_are_no_weights(cut: Cut) -> None:
    into = torch.arange(6)
    cut.scatter("order", torch.zeros(4, dtype=torch.int64), into)
    assert torch.equal(into, torch.arange(6))


def test_rows_and_columns_are_cut_together() -> None:
    parts = {"a": nn.Linear(3, 5), "m": nn.Linear(5, 6), "b": nn.Linear(6, 2)}
    program = program_of(Net(lambda net, x: net.b(net.m(net.a(x).relu()).relu()), **parts), torch.randn(EXAMPLES, 3))
    cut = cut_of(program, {"a.weight:0": (0, 2), "m.weight:0": (5,)})[1]
    whole = program.module.get_parameter("m.weight").detach()
    small = cut.slice("m.weight", whole)
    assert torch.equal(small, whole[:5, [1, 3, 4]])
    into = torch.empty(6, 5)
    cut.scatter("m.weight", small, into)
    assert torch.equal(cut.slice("m.weight", into), small)
    assert not into[5].any()
    assert not into[:, [0, 2]].any()


def test_what_to_remove_is_flags_without_the_frozen_one(program: Program) -> None:
    lab = label(program)
    right = flags(lab, {"a.weight:0": (0,)})
    frozen = right.clone()
    frozen[0] = True
    for wrong in (right[:-1], right.long(), frozen):
        with pytest.raises(SurgeryFailed, match=str(lab.count)):
            Cut(lab, wrong)
