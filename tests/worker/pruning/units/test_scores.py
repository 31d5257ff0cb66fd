"""Scores are those of a reference that looks at every entry by itself."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.worker.pruning.structured.subject import Subject, subject
from tests.worker.pruning.units.conftest import Find, Found
from worker.pruning.units import belongings
from worker.pruning.units.scores import score, sum_owned
from worker.pruning.units.units import removed_labels

NETS = (
    "tied embedding",
    "one layer three times",
    "squeeze and excite",
    "dense concatenation",
    "channel shuffle as views",
    "grouped, the unit is an index in every group",
    "fused qkv, split in three",
    "layer norm of channels",
)


def labels_of(net: Subject | Found) -> list[tuple[Tensor, list[Tensor]]]:
    """Each distinct parameter and its planes."""
    parameters = dict(net.lab.program.module.named_parameters(remove_duplicate=False))
    found = {}
    for node in net.lab.program.module.graph.find_nodes(op="get_attr"):
        if node.target in parameters and node.users:
            tensor = parameters[node.target].detach().double()
            found[id(parameters[node.target])] = (tensor, [plane.tensor for plane in net.lab.planes(node)])
    return list(found.values())


def reference(net: Subject | Found, kind: str, alive: Tensor) -> list[list[float]]:
    """For each unit: pick its entries by a mask over each parameter, and look at what is picked."""
    scores = []
    for group in net.units.groups:
        magnitudes = []
        for label in group.labels.tolist():
            picked = []
            for tensor, planes in labels_of(net):
                mine, there = torch.zeros(tensor.shape, dtype=torch.bool), torch.ones(tensor.shape, dtype=torch.bool)
                for plane in planes:
                    mine |= plane == label
                    there &= alive[plane]
                picked.append(tensor[mine & there])
            entries = torch.cat(picked)
            power = entries.square() if kind == "l2" else entries.abs()
            magnitudes.append(float(power.sum()) / max(1, entries.numel()))
        scores.append(shares(magnitudes))
    return scores


def shares(magnitudes: list[float]) -> list[float]:
    """Lee et al. 2021, equation 1, with magnitudes of units for squared weights; what is gone has none."""
    found = []
    for place, magnitude in enumerate(magnitudes):
        left = sum(other for at, other in enumerate(magnitudes) if (other, at) >= (magnitude, place))
        found.append(magnitude / left if magnitude else 0.0)
    return found


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("name", NETS)
def test_scores_are_those_of_the_reference(name: str, kind: Literal["l1", "l2"]) -> None:
    net = subject(name)
    everything = torch.ones(net.lab.count, dtype=torch.bool)
    found = score(net.units, net.lab, kind)
    for ours, theirs in zip(found, reference(net, kind, everything), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert [list(getattr(group, kind)) for group in net.described.groups] == found


@pytest.mark.parametrize("name", NETS)
def test_what_is_gone_counts_for_nothing(name: str) -> None:
    """The entries that went with other units are zero, and are no entries of those that stay either."""
    net = subject(name)
    alive = ~removed_labels(net.units, {group.name: range(len(group.labels) // 2) for group in net.units.groups})
    tensors = {}
    for parameter, node in parameters(net).items():
        tensor = net.lab.program.module.get_parameter(parameter).detach().clone()
        for plane in net.lab.planes(node):
            tensor[~alive[plane.tensor]] = 0
        tensors[parameter] = tensor
    found = score(net.units, net.lab, "l2", alive=alive, tensors=tensors)
    for group, ours, theirs in zip(net.units.groups, found, reference(net, "l2", alive), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert not any(ours[: len(group.labels) // 2])


def parameters(net: Subject) -> dict[str, torch.fx.Node]:
    module = net.lab.program.module
    nodes = {id(module.get_parameter(name)): name for name, _ in module.named_parameters()}
    aliases = dict(module.named_parameters(remove_duplicate=False))
    found = [node for node in module.graph.find_nodes(op="get_attr") if node.target in aliases]
    return {nodes[id(aliases[node.target])]: node for node in found}


def test_rows_read_in_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = subject("tied embedding")
    whole = score(net.units, net.lab, "l2")
    monkeypatch.setattr(belongings, "CHUNK", 7)
    assert score(net.units, net.lab, "l2") == whole


@pytest.mark.parametrize("name", NETS)
def test_what_a_unit_owns_is_summed_entry_by_entry(name: str) -> None:
    net = subject(name)
    found = sum_owned(net.units, net.lab, dict(net.lab.program.named_parameters()))
    for group in net.units.groups:
        for label in group.labels.tolist():
            picked = [
                tensor[torch.stack([plane.expand(tensor.shape) == label for plane in planes]).any(0)].sum()
                for tensor, planes in labels_of(net)
                if planes
            ]
            assert found[label] == pytest.approx(float(sum(picked)), rel=1e-6, abs=1e-6)


def test_magnitudes_that_were_gathered_are_shares_of_their_group(find: Find) -> None:
    net = find(two_layers(), [torch.randn(2, 4)])
    (group,) = net.units.groups
    gathered = torch.full((net.units.count,), 5.0, dtype=torch.float64)
    gathered[group.labels] = torch.tensor([3.0, 1.0, 2.0, math.nan, 2.0, 4.0], dtype=torch.float64)
    alive = ~removed_labels(net.units, {group.name: [5]})
    found = score(net.units, net.lab, "taylor", alive=alive, gathered=gathered)
    assert found == [[1.0, 0.125, pytest.approx(2 / 7), 0.0, pytest.approx(2 / 5), 0.0]]


def far(rows: Tensor) -> list[float]:
    """He et al. 2019: the sum of the distances of each filter to all filters of its layer."""
    rows = rows.detach().double().flatten(1)
    return shares([float(sum((one - other).norm() for other in rows)) for one in rows])


def test_geometric_median_is_the_formula_of_its_paper(find: Find) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3), nn.Flatten(), nn.Linear(6 * 64, 2)
    )
    net = find(module, [torch.randn(2, 3, 8, 8)])
    found = dict(
        zip([group.name for group in net.units.groups], score(net.units, net.lab, "geometric_median"), strict=True)
    )
    np.testing.assert_allclose(found["0.weight"], far(module[0].weight), rtol=1e-5)
    np.testing.assert_allclose(found["2.weight"], far(module[2].weight.transpose(0, 1)), rtol=1e-5)


def test_filters_that_are_gone_are_not_among_the_others(find: Find) -> None:
    module = two_layers()
    net = find(module, [torch.randn(2, 4)])
    (group,) = net.units.groups
    alive = ~removed_labels(net.units, {group.name: [0, 3]})
    (found,) = score(net.units, net.lab, "geometric_median", alive=alive)
    expected = far(module[0].weight[[1, 2, 4, 5]])
    np.testing.assert_allclose(found, [0, *expected[:2], 0, *expected[2:]], rtol=1e-5)


def test_a_unit_is_compared_by_a_row_of_every_layer_that_writes_to_it_and_a_head_by_all_of_its_rows(find: Find) -> None:
    module = Stream()
    net = find(module, [torch.randn(2, 4, 5)])
    stream, hidden, heads = score(net.units, net.lab, "geometric_median")
    rows = torch.cat([module.stem.weight, module.down.weight, module.out.weight], dim=1)
    np.testing.assert_allclose(stream, far(rows), rtol=1e-5)
    np.testing.assert_allclose(hidden, far(module.up.weight), rtol=1e-5)
    np.testing.assert_allclose(heads, far(module.qkv.weight.unflatten(0, (3, 2, 3)).transpose(0, 1)), rtol=1e-5)


class Square(nn.Module):
    """A stream that is written to by a layer that reads it: its units lie on both axes of a weight."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.stem, self.head, self.transposed = nn.Linear(3, 5), nn.Linear(5, 2), transposed
        self.mix = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = torch.tanh(x)
        return self.head(x + (y @ self.mix if self.transposed else nn.functional.linear(y, self.mix)))


@pytest.mark.parametrize("transposed", [False, True])
def test_of_a_weight_from_a_stream_to_itself_the_rows_are_those_of_its_outputs(find: Find, transposed: bool) -> None:
    module = Square(transposed)
    net = find(module, [torch.randn(2, 3)])
    (found,) = score(net.units, net.lab, "geometric_median")
    mix = module.mix.t() if transposed else module.mix
    np.testing.assert_allclose(found, far(torch.cat([module.stem.weight, mix], dim=1)), rtol=1e-5)


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def test_a_group_of_larger_weights_scores_no_higher(find: Find) -> None:
    module = two_layers()
    before = score_of(find(module, [torch.randn(2, 4)]))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 1000
    assert score_of(find(module, [torch.randn(2, 4)])) == pytest.approx(before, rel=1e-5)
    assert max(before) == 1


def test_alike_units_share_what_is_left_of_their_group(find: Find) -> None:
    module = two_layers()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.5)
    assert score_of(find(module, [torch.randn(2, 4)])) == pytest.approx(
        [1 / left for left in range(6, 0, -1)], rel=1e-5
    )


class Stream(nn.Module):
    """A stream that three layers write to, a hidden layer, and attention with two heads of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(5, 8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.qkv, self.out, self.head = nn.Linear(8, 18), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.down(torch.relu(self.up(x)))
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4).unbind()
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(torch.tanh(x + self.out(y)))


def test_a_unit_has_a_row_of_each_layer_that_writes_to_it_and_a_head_those_of_its_size(find: Find) -> None:
    net = find(Stream(), [torch.randn(2, 4, 5)])
    rows = {group.name: group.rows for group in net.units.groups}
    assert rows == {"stem.weight": 3, "up.weight": 1, "qkv.weight": 9}
    assert [group.rows for group in net.described.groups] == [3, 1, 9]


def test_weights_that_are_no_numbers_score_nothing(find: Find) -> None:
    module = two_layers()
    with torch.no_grad():
        module[0].weight[2, 1] = math.nan
        module[2].weight[0, 4] = math.inf
    scores = score_of(find(module, [torch.randn(2, 4)]))
    assert [index for index, one in enumerate(scores) if one == 0] == [2, 4]
    assert all(map(math.isfinite, scores))


def score_of(found: Found) -> list[float]:
    return score(found.units, found.lab, "l2")[0]


def test_random_scores_follow_the_seed_and_leave_out_what_is_gone() -> None:
    net = subject("dense concatenation")
    first = score(net.units, net.lab, "random", seed=1)
    assert first == score(net.units, net.lab, "random", seed=1)
    assert first != score(net.units, net.lab, "random", seed=2)
    assert len({tuple(scores[:3]) for scores in first}) == len(first)
    gone = net.units.groups[0].name
    alive = ~removed_labels(net.units, {gone: [1]})
    later = score(net.units, net.lab, "random", seed=1, alive=alive)
    assert later == [[first[0][0], 0.0, *first[0][2:]], *first[1:]]


def test_removed_labels_are_those_of_the_units() -> None:
    net = subject("dense concatenation")
    group = net.units.groups[1]
    removed = removed_labels(net.units, {group.name: {0, 2}})
    assert removed.nonzero().flatten().tolist() == sorted(group.labels[[0, 2]].tolist())
