"""The proof holds for what is right, notices what is wrong, and says what it could not see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.report import Proof
from tests.worker.pruning.cutting import EXAMPLES, Net, Removed, cut_of, program_of
from worker.program.program import BATCH, Program
from worker.pruning import footprint
from worker.pruning.labels.labelling import label
from worker.pruning.proof import batch_sizes, difference, gather_evidence, prove
from worker.pruning.surgery.operate import operate

aten = torch.ops.aten
GONE = (0, 3, 7)
SOME: Removed = {"a.weight:0": GONE}
KEPT = torch.tensor([index not in GONE for index in range(12)])


def _dense(function: Callable[..., Any] | None = None, **parts: Any) -> Program:
    torch.manual_seed(0)
    layers = {"a": nn.Linear(5, 12), "b": nn.Linear(12, 4), **parts}
    return program_of(Net(function or (lambda net, x: net.b(net.a(x).relu())), **layers), torch.randn(EXAMPLES, 5))


def _proved(program: Program, removed: Removed = SOME, **settings: Any) -> Any:
    lab, cut = cut_of(program, removed)
    return prove(program, lab, cut, operate(lab, cut), **settings)


def test_a_right_program_holds_and_has_an_effect() -> None:
    found = _proved(_dense())
    assert found.holds
    assert found.tolerance == 1e-9
    assert found.max_relative_error < 1e-14
    assert found.effect > 0.01
    assert found.nodes_plain == 5  # two parameters of `a`, the columns of `b`, the product and the activation
    assert found.nodes_restricted == ()


def test_nothing_removed_holds_without_effect() -> None:
    found = _proved(_dense(), {})
    assert (found.holds, found.max_relative_error, found.effect, found.nodes_plain) == (True, 0.0, 0.0, 0)


def test_the_same_proof_comes_twice() -> None:
    assert _proved(_dense()) == _proved(_dense())


def test_programs_and_the_default_dtype_stay_as_they_are() -> None:
    program = _dense()
    lab, cut = cut_of(program, SOME)
    sliced = operate(lab, cut)
    before = [str(one.module.graph) for one in (program, lab.program, sliced)]
    prove(program, lab, cut, sliced, dtype=torch.float64)
    assert torch.get_default_dtype() == torch.float32
    assert [str(one.module.graph) for one in (program, lab.program, sliced)] == before
    assert {value.dtype for one in (program, lab.program, sliced) for value in one.module.parameters()} == {
        torch.float32
    }


def _write_to_part(net: Net, x: Tensor) -> Tensor:
    z = torch.zeros(x.shape[0], 12)
    z[:, :6] = net.a(x)[:, 6:].relu()
    z[:, 6:].add_(net.a(x)[:, :6])
    return net.b(z)


def _write_through_view(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    halves = y.view(-1, 12)[:, 4:]
    halves.mul_(2.0)
    F.dropout(y, 0.5, False).add_(1.0)
    return net.b(y)


def _broken_where_removed(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    return net.b(y / y.abs())


def _log_of_removed(net: Net, x: Tensor) -> Tensor:
    return net.b((net.a(x).square() * net.w).log().mul_(0.1))


def _expanded(net: Net, x: Tensor) -> Tensor:
    return net.b(net.a(x)) + (net.a(x) * net.w[:1].expand(12)).sum(1, keepdim=True)


TRICKY: dict[str, Callable[..., Tensor]] = {
    "slices are assigned": _write_to_part,
    "a view is written to": _write_through_view,
    "zero by zero": _broken_where_removed,
    "the logarithm of zero": _log_of_removed,
    "an expanded weight": _expanded,
}


@pytest.mark.parametrize("name", TRICKY)
def test_silence_survives_views_writes_and_nan(name: str) -> None:
    found = _proved(_dense(TRICKY[name], w=nn.Parameter(torch.rand(12) + 0.5)), dtype=torch.float64)
    assert found.holds, found
    assert found.effect > 0.01


def test_outputs_of_every_kind_are_compared() -> None:
    def function(net: Net, x: Tensor) -> dict[str, Any]:
        scores = net.b(net.a(x).relu())
        return {"scores": (scores, scores.argmax(1)), "positive": scores > 0, "same": x}

    program = _dense(function)
    lab, cut = cut_of(program, SOME)
    sliced = operate(lab, cut)
    evidence = gather_evidence(program, lab, cut, sliced, torch.float64)
    assert [list(given) for given in evidence.reference] == [["scores.0", "scores.1", "positive", "same"]] * 2
    found = prove(program, lab, cut, sliced)
    assert found.holds
    assert Proof.model_validate_json(found.model_dump_json()) == found  # JSON knows no infinity


def _folded(net: Net, x: Tensor) -> Tensor:
    batch = x.shape[0]
    heads = net.a(x).reshape(batch * 3, 1, 4)
    return net.b(F.conv1d(heads, net.w, padding=1).relu().reshape(batch, 12))


def test_units_folded_into_the_batch_are_found_at_any_batch() -> None:
    program = _dense(_folded, w=nn.Parameter(torch.randn(1, 1, 3)))
    found = _proved(program, {"a.weight:0": (4, 5, 6, 7)}, dtype=torch.float64)
    assert found.holds, found
    assert found.effect > 0.01


def _spoiled(change: Callable[[Program], None]) -> Any:
    program = _dense()
    lab, cut = cut_of(program, SOME)
    sliced = operate(lab, cut)
    change(sliced)
    return prove(program, lab, cut, sliced)


def _wrong_order(sliced: Program) -> None:
    weight = sliced.module.get_parameter("a.weight")
    weight.data = weight.data.flip(0)


def _not_a_number(sliced: Program) -> None:
    sliced.module.get_parameter("b.bias").data[0] = math.nan


def _slightly_off(sliced: Program) -> None:
    sliced.module.get_parameter("b.bias").data[0] += 1e-5


@pytest.mark.parametrize("change", [_wrong_order, _not_a_number, _slightly_off])
def test_a_wrong_program_does_not_hold(change: Callable[[Program], None]) -> None:
    found = _spoiled(change)
    assert not found.holds
    assert found.max_relative_error > found.tolerance


def test_outputs_that_are_not_finite_do_not_hold_even_where_all_agree() -> None:
    found = _proved(_dense(lambda net, x: net.b(net.a(x).relu()) / 0.0))
    assert not found.holds
    assert found.max_relative_error == math.inf


def test_a_labelled_program_that_is_not_the_upload_does_not_hold() -> None:
    order = torch.randperm(12)
    program = _dense(lambda net, x: net.b(torch.index_select(net.a(x), 1, net.order).relu()), order=order)
    lab, cut = cut_of(program.copy(), {})
    assert prove(program, lab, cut, operate(lab, cut)).max_relative_error == 0.0
    for name, buffer in lab.program.module.named_buffers():
        assert buffer.shape == (12,), name
        buffer.copy_(buffer.roll(1))
    assert not prove(program, lab, cut, operate(lab, cut)).holds


def test_the_report_names_the_nodes_with_restricted_statistics() -> None:
    program = _dense(lambda net, x: net.b(net.n(net.a(x))) * net.a(x).mean(1, keepdim=True), n=nn.LayerNorm(12))
    found = _proved(program)
    assert found.holds
    assert found.nodes_restricted == ("layer_norm_default", "mean_dim")


def test_float32_is_taken_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    program = _dense()
    lab = label(program)
    # 12 * 5 + 12 + 4 * 12 + 4 parameters; at a batch of 3 the product and the activation, 12 wide, are live together.
    needed = 2 * (2 * 124 + 3 * 2 * 36) * 8
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(footprint, "free_bytes", lambda free=free: free)
        assert footprint.fits(lab, torch.float64) == fits
    found = _proved(program)
    assert (found.holds, found.tolerance) == (True, 1e-5)
    assert 0 < found.max_relative_error < 1e-6


def test_free_memory_is_what_the_machine_has_or_the_process_may() -> None:
    assert 1 << 20 < footprint.free_bytes() < 1 << 50


@pytest.mark.parametrize(
    ("bounds", "sizes"),
    [((1, 64), (2, 3)), ((1, None), (2, 3)), ((2, 2), (2,)), ((1, 2), (2, 1)), ((8, None), (8, 9)), ((1, 1), (1,))],
)
def test_two_batches_within_the_bounds(bounds: tuple[int, int | None], sizes: tuple[int, ...]) -> None:
    program = _dense()
    known = program.sizes[BATCH]
    program.sizes[BATCH] = type(known)(bounds[0], bounds[1], known.example)
    assert batch_sizes(program) == sizes


def test_differences_are_relative_to_the_largest() -> None:
    ones = torch.ones(3)
    assert difference({"0": ones * 4}, {"0": ones * 5}) == pytest.approx(0.2)
    assert difference({"0": ones * 0}, {"0": ones * 0}) == 0.0
    assert difference({"0": torch.tensor([1, 2])}, {"0": torch.tensor([1, 2])}) == 0.0
    for other in (ones[:2], ones.double(), ones * math.inf, ones * math.nan):
        assert difference({"0": other}, {"0": ones}) == math.inf
    assert difference({"0": torch.tensor([1, 2])}, {"0": torch.tensor([1, 3])}) == math.inf
    assert difference({"1": ones}, {"0": ones}) == math.inf
    masked = torch.tensor([1.0, -math.inf, 2.0])
    assert difference({"0": masked}, {"0": masked}) == 0
    assert difference({"0": masked.roll(1)}, {"0": masked}) == math.inf
    assert difference({"0": -masked}, {"0": masked}) == math.inf
    assert difference({"0": ones * math.nan}, {"0": ones * math.nan}) == math.inf
    assert difference({"0": ones}, {"0": ones * 0}) == math.inf
