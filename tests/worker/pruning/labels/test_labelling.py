"""Labelling a whole program: what it promises whatever the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import ProgramFails
from tests.worker.pruning.labels.conftest import Uploaded
from worker.program.catalogue import OUT_OF_PLACE, SIZES, words
from worker.pruning.labels import labelling
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.labels.rules.table import RULES
from worker.pruning.labels.spelling import SYNONYMS
from worker.pruning.labels.values import Values

# What freezes the units that it touches: recurrent kernels, what depends on data, and what nobody exports.
NOT_FOLLOWED = words("""
    addbmm affine_grid_generator aminmax bilinear broadcast_tensors bucketize cdist chain_matmul column_stack
    cosine_similarity cross diag diag_embed dstack embedding_bag gru gru_cell imag index_add index_fill index_put inner
    kron lstm lstm_cell matrix_exp max_unpool2d max_unpool3d one_hot pairwise_distance rnn_relu rnn_relu_cell rnn_tanh
    rnn_tanh_cell scatter scatter_add scatter_reduce searchsorted select_scatter slice_scatter take tensordot index
""") - {"index"} | {"index_copy"}
# Tables and numbers that no operand goes into.
NO_OPERAND = words("arange eye linspace meshgrid scalar_tensor tril_indices triu_indices")


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 4, 1)
        self.shuffle = nn.ChannelShuffle(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        n, c, h, w = y.shape
        return self.b(self.shuffle(y) + y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class PicksOne(nn.Module):
    """A linear layer whose outputs are picked among, behind an activation and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(torch.relu(self.first(x)))
        return self.second(y), y.argmax(1)


def crossing(lab: Labelling, name: str) -> dict[int, Tensor]:
    (node,) = (n for n in lab.program.module.graph.find_nodes(op="get_attr") if n.target == name)
    return {next(iter(plane.axes)): plane.along(next(iter(plane.axes))) for plane in lab.planes(node)}


def test_every_operator_of_the_catalogue_is_followed_or_known_to_freeze() -> None:
    spelled = {name.removesuffix("_copy") if name not in ("_to_copy", "index_copy") else name for name in OUT_OF_PLACE}
    unknown = {SYNONYMS.get(name, name) for name in spelled - SIZES} - RULES.keys()
    assert unknown == NOT_FOLLOWED | NO_OPERAND


def test_the_program_that_is_labelled_stays_as_it_is(uploaded: Uploaded) -> None:
    program = uploaded(Shuffled(), torch.randn(2, 1, 3, 3))
    before = [(node.name, node.args) for node in program.module.graph.nodes]
    names = set(program.module.state_dict())
    lab = label(program)
    assert [(node.name, node.args) for node in program.module.graph.nodes] == before
    assert set(lab.program.module.state_dict()) == names == set(program.module.state_dict())
    assert not set(lab.program.module.graph.nodes) & set(program.module.graph.nodes)


def test_labels_cost_no_memory_for_the_tensors(uploaded: Uploaded) -> None:
    program = uploaded(Shuffled(), torch.randn(2, 1, 3, 3))
    shared = dict(label(program).program.module.named_parameters())
    assert all(parameter is shared[name] for name, parameter in program.named_parameters())


class Shifted(nn.Module):
    """Grey images in three colours, normalised, flattened and shifted by a table."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.BatchNorm2d(3), nn.Linear(12, 6), nn.Linear(6, 2)
        self.register_buffer("table", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.norm(x.expand(-1, 3, -1, -1)).view(x.shape[0], 12)) + self.table)


def test_a_node_that_works_in_place_does_not_change_the_tensors(uploaded: Uploaded) -> None:
    program = uploaded(Shifted(), torch.randn(2, 1, 2, 2))
    graph = program.module.graph
    (table,) = [node for node in graph.find_nodes(op="get_attr") if node.target == "table"]
    with graph.inserting_after(table):
        graph.call_function(torch.ops.aten.add_.Tensor, (table, 1))
    label(program)
    assert not program.module.table.any()  # type: ignore[operator]


def test_a_normalised_value_is_dense_where_its_input_is_expanded(uploaded: Uploaded) -> None:
    lab = label(uploaded(Shifted(), torch.randn(2, 1, 2, 2)))
    assert crossing(lab, "a.weight")[0].all()


def test_what_the_last_rewrite_made_is_labelled(uploaded: Uploaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "REWRITES_MAX", 1)
    lab = label(uploaded(Shuffled(), torch.randn(2, 1, 3, 3)))
    moved = [node for node in lab.program.module.graph.nodes if "index_select" in str(node.target)]
    assert moved
    assert all(lab.planes(node) for node in moved)


def test_shuffles_become_gathers_that_compute_the_same_and_unite_nothing(uploaded: Uploaded) -> None:
    program = uploaded(Shuffled(), torch.randn(2, 1, 3, 3))
    lab = label(program)
    called = [str(node.target) for node in lab.program.module.graph.nodes]
    assert called.count("aten.index_select.default") == 2
    assert not any("shuffle" in name or "transpose" in name for name in called)
    given = program.example(5)
    with torch.no_grad():
        assert torch.equal(program(*given), lab.program(*given))
    shuffle, own = torch.tensor([0, 2, 4, 1, 3, 5]), torch.tensor([0, 3, 1, 4, 2, 5])
    labels = crossing(lab, "a.weight")[0]
    assert torch.equal(labels[shuffle], labels[own])


def test_labels_are_the_same_every_time(uploaded: Uploaded) -> None:
    program = uploaded(Shuffled(), torch.randn(2, 1, 3, 3))
    one, other = label(program), label(program)
    for name in ("a.weight", "b.weight"):
        ours, theirs = crossing(one, name), crossing(other, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[axis], theirs[axis]) for axis in ours)


def test_what_is_frozen_says_where_why_and_on_which_way(uploaded: Uploaded) -> None:
    lab = label(uploaded(PicksOne(), torch.randn(2, 4)))
    (picked,) = [frozen for frozen in lab.frozen if frozen.node == "argmax_default"]
    assert "picked" in picked.why
    assert "first.weight:0" in picked.parameters
    assert picked.way[0] == "argmax_default"
    assert any(
        frozen.why == "an output of the network" and "second.weight:0" in frozen.parameters for frozen in lab.frozen
    )
    assert any("first.weight:1" in frozen.parameters for frozen in lab.frozen)


def test_what_meets_a_concatenation_with_the_input_is_told_so(uploaded: Uploaded) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(4, 10), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([self.first(x), x], 1) + self.second(x))

    lab = label(uploaded(Joined(), torch.randn(2, 4)))
    assert all(frozen.why for frozen in lab.frozen)
    (met,) = [frozen for frozen in lab.frozen if "second.weight:0" in frozen.parameters]
    assert met.node == "add_tensor"
    assert (crossing(lab, "second.weight")[0] == 0).tolist() == [False] * 6 + [True] * 4


def test_a_node_can_be_closed_on_request(uploaded: Uploaded) -> None:
    program = uploaded(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(2, 4))
    assert 0 in crossing(label(program), "0.weight")
    closed = label(program, closed=["relu_default"])
    assert 0 not in crossing(closed, "0.weight")
    assert [frozen.node for frozen in closed.frozen if "0.weight:0" in frozen.parameters] == ["relu_default"]


def test_shapes_that_cannot_be_told_are_an_error_that_names_the_node(uploaded: Uploaded) -> None:
    program = uploaded(nn.Sequential(nn.Linear(4, 6)), torch.randn(2, 4))
    (weight,) = (n for n in program.module.graph.find_nodes(op="get_attr") if n.target == "0.weight")
    (linear,) = weight.users
    with program.module.graph.inserting_before(linear):
        wrong = program.module.graph.call_function(torch.ops.aten.transpose.int, (weight, 0, 1))
    linear.replace_input_with(weight, wrong)
    with pytest.raises(ProgramFails, match="linear"):
        label(program)


def test_tensors_that_need_no_input_are_known_in_numbers(uploaded: Uploaded) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("order", torch.tensor([2, 0, 1]))
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)[:, None] + (self.order * 2).float().unsqueeze(0)[..., None]

    program = uploaded(Rows(), torch.randn(2, 3))
    values = Values(program)
    real = {node.name: values.real[node] for node in program.module.graph.nodes if node in values.real}
    assert any(torch.equal(value, torch.tensor([4, 0, 2])) for value in real.values())
    linear = next(node for node in program.module.graph.nodes if "linear" in node.name)
    assert linear not in values.real
    assert values.of[linear].device.type == "meta"


def test_an_operator_that_changes_the_shape_in_place_leaves_what_was_known(uploaded: Uploaded) -> None:
    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.unsqueeze(1).squeeze_(1))

    program = uploaded(Squeezed(), torch.randn(2, 3))
    values = Values(program)
    shapes = {node.name.split("_default")[0].split("_dim")[0]: values.shape(node) for node in values.of}
    assert shapes["unsqueeze"] == (3, 1, 3)
    assert shapes["squeeze_"] == (3, 3)
