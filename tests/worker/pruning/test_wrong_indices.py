"""Wrong indices of the right number, in any parameter, are noticed by the proof wherever they make a difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worker.pruning.cutting import EXAMPLES, Net, Removed, cut_of, program_of
from worker.program.program import Program
from worker.pruning.cut import part
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate


def _attention() -> Program:
    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {title: nn.Linear(8, 12) for title in "qkv"} | {"b": nn.Linear(12, 5)}

    def function(net: Net, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (4, 3)).transpose(1, 2) for layer in (net.q, net.k, net.v))
        return net.b(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    return program_of(Net(function, **parts), torch.randn(EXAMPLES, 6, 8))


def _perceptron() -> Program:
    parts = {"a": nn.Linear(5, 12), "n": nn.LayerNorm(12), "m": nn.Linear(12, 10), "b": nn.Linear(10, 4)}
    torch.manual_seed(0)
    for parameter in parts["n"].parameters():
        nn.init.normal_(parameter)
    return program_of(
        Net(lambda net, x: net.b(net.m(F.gelu(net.n(net.a(x)))).tanh()), **parts),
        torch.randn(EXAMPLES, 5),
    )


def _wrong(kept: Tensor, generator: torch.Generator) -> Tensor:
    """Other indices, as many."""
    while True:
        wrong = kept[torch.randperm(len(kept), generator=generator)]
        if not torch.equal(wrong, kept):
            return wrong


SABOTAGED: dict[str, tuple[Callable[[], Program], Removed, set[str]]] = {
    "attention": (_attention, {"q.weight:0": (3, 10)}, {"k.bias"}),
    "perceptron": (_perceptron, {"a.weight:0": (0, 3, 7, 9), "m.weight:0": (1, 2, 8)}, set()),
}


@pytest.mark.parametrize("name", SABOTAGED)
def test_wrong_indices_of_any_parameter_are_noticed_unless_they_change_nothing(name: str) -> None:
    """The bias of the keys adds the same to all scores of a query: softmax does not see it, whichever it is."""
    make, removed, without_effect = SABOTAGED[name]
    program = make()
    lab, cut = cut_of(program, removed)
    right = operate(lab, cut)
    generator = torch.Generator().manual_seed(0)
    missed = set()
    for title, parameter in program.named_parameters():
        for axis, kept in enumerate(cut.tensor(title)):
            for _ in range(4 if kept is not None else 0):
                assert kept is not None
                axes = list(cut.tensor(title))
                axes[axis] = _wrong(kept, generator)
                sliced = right.copy()
                sliced.module.get_parameter(title).data = part(parameter.detach(), tuple(axes)).clone()
                if prove(program, lab, cut, sliced).holds:
                    missed.add(title)
                    _assert_same(sliced, right)
    assert missed == without_effect


def _assert_same(ours: Program, theirs: Program) -> None:
    (given,) = ours.example(7, seed=11)
    torch.testing.assert_close(ours(given), theirs(given), rtol=1e-5, atol=1e-6)
