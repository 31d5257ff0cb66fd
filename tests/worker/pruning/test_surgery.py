"""What surgery keeps of a program, what it can be used for, and where it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import SurgeryFailed
from tests.worker.pruning.cutting import EXAMPLES, Net, calls, cut_of, program_of
from worker.program.program import Program, named_tensors
from worker.program.writer import export
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling
from worker.pruning.proof import prove
from worker.pruning.surgery import moves
from worker.pruning.surgery.operate import LITERALS, operate
from worker.pruning.surgery.site import Site


def _tied() -> Program:
    torch.manual_seed(0)
    shared = nn.Linear(8, 8)
    parts = {"a": nn.Linear(5, 8), "m": shared, "again": shared, "drop": nn.Dropout(0.5), "b": nn.Linear(8, 4)}
    parts["spare"] = nn.Linear(3, 7)
    parts["m"].bias.requires_grad_(False)

    def function(net: Net, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.b(net.drop(x + net.again(net.m(x).relu())))

    return program_of(Net(function, **parts), torch.randn(EXAMPLES, 5))


@pytest.fixture
def tied() -> tuple[Program, Labelling, Cut]:
    program = _tied()
    return program, *cut_of(program, {"a.weight:0": (2, 5)})


def test_all_that_names_a_program_stays(tied: tuple[Program, Labelling, Cut]) -> None:
    program, lab, cut = tied
    program.notes = lab.program.notes = ("a note",)
    lab.program.masks["a.weight"] = torch.arange(40).view(8, 5) > 12
    sliced = operate(lab, cut)
    assert [name for name, _ in named_tensors(sliced.module)] == [name for name, _ in named_tensors(program.module)]
    assert sliced.inputs == program.inputs
    assert sliced.sizes == program.sizes
    assert (sliced.batch_kind, sliced.notes, sliced.written_by) == (program.batch_kind, ("a note",), program.written_by)
    assert list(sliced.outputs()) == list(program.outputs())
    assert [node.name for node in sliced.outputs().values()] == [node.name for node in lab.program.outputs().values()]
    assert torch.equal(sliced.masks["a.weight"], lab.program.masks["a.weight"][[0, 1, 3, 4, 6, 7]])


def test_a_tied_parameter_stays_one_object(tied: tuple[Program, Labelling, Cut]) -> None:
    program, lab, cut = tied
    sliced = operate(lab, cut)
    assert sliced.ties() == program.ties() == (("m.weight", "again.weight"), ("m.bias", "again.bias"))
    assert sliced.module.get_parameter("m.weight").shape == (6, 6)
    assert not sliced.module.get_parameter("m.bias").requires_grad
    assert sliced.module.get_parameter("m.weight").requires_grad


def test_the_program_before_shares_nothing_and_stays(tied: tuple[Program, Labelling, Cut]) -> None:
    program, lab, cut = tied
    before = {name: tensor.clone() for name, tensor in named_tensors(lab.program.module)}
    graph = str(lab.program.module.graph)
    sliced = operate(lab, cut)
    with torch.no_grad():
        for _, tensor in named_tensors(sliced.module):
            tensor.fill_(3)
    assert str(lab.program.module.graph) == graph
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(lab.program.module))
    assert torch.equal(program.module.get_parameter("spare.weight"), before["spare.weight"])


def test_unused_parameters_stay_whole(tied: tuple[Program, Labelling, Cut]) -> None:
    program, lab, cut = tied
    spare = operate(lab, cut).module.get_parameter("spare.weight")
    assert torch.equal(spare, program.module.get_parameter("spare.weight"))


def test_surgery_gives_the_same_twice(tied: tuple[Program, Labelling, Cut]) -> None:
    _, lab, cut = tied
    one, other = operate(lab, cut), operate(lab, cut)
    assert str(one.module.graph) == str(other.module.graph)
    pairs = zip(named_tensors(one.module), named_tensors(other.module), strict=True)
    assert all(torch.equal(first, second) for (_, first), (_, second) in pairs)


def test_what_is_left_trains(tied: tuple[Program, Labelling, Cut]) -> None:
    _, lab, cut = tied
    sliced = operate(lab, cut)
    (given,) = sliced.example(6)
    calm = sliced(given)
    sliced.set_training(True)
    assert not torch.equal(sliced(given), calm)
    sliced(given).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in sliced.named_parameters()}
    assert {name for name, gradient in gradients.items() if gradient is None} == {
        "m.bias",
        "spare.weight",
        "spare.bias",
    }


def test_the_batch_still_varies_after_export(tied: tuple[Program, Labelling, Cut]) -> None:
    _, lab, cut = tied
    sliced = operate(lab, cut)
    exported = export(sliced)
    assert [str(bounds) for bounds in exported.range_constraints.values()] == ["VR[1, 64]"]
    for count in (1, 7):
        (given,) = sliced.example(count)
        torch.testing.assert_close(exported.module()(given), sliced(given))


def _gathering(function: Callable[..., Tensor]) -> Program:
    torch.manual_seed(0)
    parts = {"a": nn.Linear(5, 6), "c": nn.Linear(5, 6), "b": nn.Linear(6, 4), "d": nn.Linear(6, 4)}
    return program_of(Net(function, order=torch.tensor([3, 0, 5, 1, 4, 2]), **parts), torch.randn(EXAMPLES, 5))


def test_indices_that_two_nodes_share_are_renumbered_for_each() -> None:
    def function(net: Net, x: Tensor) -> Tensor:
        one, other = (torch.index_select(layer(x), 1, net.order) for layer in (net.a, net.c))
        return net.b(one.relu()) + net.d(other.tanh())

    program = _gathering(function)
    lab, cut = cut_of(program, {"a.weight:0": (0, 3), "c.weight:0": (4,)})
    sliced = operate(lab, cut)
    one, other = (sliced.module.get_buffer(str(node.args[2].target)) for node in calls(sliced, "index_select"))
    assert one.tolist() == [3, 0, 2, 1]
    assert other.tolist() == [3, 0, 4, 1, 2]
    assert torch.equal(sliced.module.get_buffer("order"), program.module.get_buffer("order"))
    assert prove(program, lab, cut, sliced).holds
    export(sliced)


def test_indices_that_are_not_of_units_stay() -> None:
    def function(net: Net, x: Tensor) -> Tensor:
        stacked = torch.stack([net.a(x)] * 3, 1)
        return net.b(torch.index_select(stacked, 1, net.order % 3)).sum(1)

    program = _gathering(function)
    lab, cut = cut_of(program, {"a.weight:0": (0, 3)})
    assert prove(program, lab, cut, operate(lab, cut)).holds


def test_nothing_removed_changes_nothing() -> None:
    program = _tied()
    lab, cut = cut_of(program, {})
    sliced = operate(lab, cut)
    (given,) = program.example(5)
    assert torch.equal(sliced(given), program(given))


def test_where_nothing_would_be_left_the_value_is_named(tied: tuple[Program, Labelling, Cut]) -> None:
    _, cut = cut_of(tied[0], {"a.weight:0": range(8)})
    with pytest.raises(SurgeryFailed, match="Nothing would be left of a_weight") as failure:
        operate(cut.lab, cut)
    assert failure.value.to_dict()["node"] == "a_weight"


def test_a_piece_without_survivors_is_named() -> None:
    def function(net: Net, x: Tensor) -> Tensor:
        first, second = net.a(x).split([2, 4], 1)
        return net.b(torch.cat([second, first.relu()], 1))

    lab, cut = cut_of(_gathering(function), {"a.weight:0": (0, 1)})
    with pytest.raises(SurgeryFailed, match="split_with_sizes"):
        operate(lab, cut)


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(x.shape[0], 6, 1).view(x.shape[0], 6),
    "slice": lambda x: F.pad(x[:, 1:5], (1, 1)) + x,
    "narrow": lambda x: F.pad(x.narrow(1, 1, 4), (1, 1)) + x,
    "select": lambda x: x * x[:, 4:5] + x.select(1, 4)[:, None],
    "split": lambda x: torch.cat(x.split(4, 1)[::-1], 1),
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "index_select": lambda x: torch.index_select(x, 1, torch.tensor([3, 0, 5, 1, 4, 2])),
}


@pytest.mark.parametrize("called", MOVES)
def test_movement_with_old_literals_is_caught_before_anything_runs(
    called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _gathering(lambda net, x: net.b(MOVES[called](net.a(x)).relu()))
    lab, cut = cut_of(program, {"a.weight:0": (0, 2)})
    assert prove(program, lab, cut, operate(lab, cut)).holds
    key = next(name for name in LITERALS if calls(lab.program, name) and name.startswith(called))
    monkeypatch.setitem(LITERALS, key, _unchanged)
    with pytest.raises(SurgeryFailed, match=f"{key}.*cannot follow the cut"):
        operate(lab, cut)


PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "reshape_as": lambda x: x.unsqueeze(2).reshape_as(x),
    "view_as": lambda x: x.unsqueeze(1).view_as(x) * 2,
    "expand_as": lambda x: x + x.sum(1, keepdim=True).expand_as(x),
    "flip": lambda x: x.flip(1) + x,
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "roll": lambda x: x.roll(2, 1),
    "a constant of the graph": lambda x: x[:, torch.tensor([3, 0, 5, 1, 4, 2])],
    "an empty slice": lambda x: torch.cat([x, x[:, :0]], 1),
    "unbind": lambda x: torch.stack(x.unsqueeze(2).expand(-1, -1, 2).unbind(2)).sum(0),
    "chunks": lambda x: torch.cat([piece.unsqueeze(0) for piece in x.chunk(2, 1)], 0).sum(0).repeat(1, 2),
}


@pytest.mark.parametrize("name", PLAIN)
def test_movement_that_needs_no_new_literal_passes_the_check(name: str) -> None:
    program = _gathering(lambda net, x: net.b(PLAIN[name](net.a(x)).relu()))
    lab, cut = cut_of(program, {"a.weight:0": (1,)})
    sliced = operate(lab, cut)
    assert sliced.module.get_parameter("a.weight").shape[0] < 6
    assert prove(program, lab, cut, sliced).holds
    export(sliced)


def test_movement_to_the_wrong_place_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    program = _gathering(lambda net, x: net.b(MOVES["index_select"](net.a(x)).relu()))
    lab, cut = cut_of(program, {"a.weight:0": (0, 2)})

    def reverse(site: Site) -> None:
        site.call["index"] = site.draft.constant("wrong", torch.arange(4))

    monkeypatch.setitem(LITERALS, "index_select", reverse)
    with pytest.raises(SurgeryFailed, match="end up in other places") as failure:
        operate(lab, cut)
    assert failure.value.to_dict()["node"] == calls(lab.program, "index_select")[-1].name


def _unchanged(site: Site) -> None:
    """What a literal rule does that was forgotten."""


def test_every_literal_that_moves_is_checked() -> None:
    """Those that are no movement of one tensor create, write into another or compute."""
    from worker.pruning.labels.spelling import SYNONYMS

    named = {SYNONYMS.get(name.removesuffix("_copy"), name.removesuffix("_copy")) for name in LITERALS}
    others = {name for name in named if name.endswith(("scatter", "norm")) or name.startswith(("conv", "new_"))}
    assert named - others - moves.MOVES == {"zeros", "ones", "full", "empty", "scaled_dot_product_attention"}
