"""The proof notices wrong indices: for every parameter, others of the right number along one axis."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.worker.pruning.structured.subject import Subject, subject
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate

NETS = (
    "convolutions with batch norm",
    "depthwise",
    "grouped, the unit is an index in every group",
    "transposed",
    "shortcut padded with zeros",
    "dense concatenation",
    "squeeze and excite",
    "channel shuffle as views",
    "fused qkv, (heads, 3 * size)",
    "rotary, halves",
    "relative positions in a table",
    "MultiheadAttention with padding",
    "layer norm of channels",
    "TransformerEncoder, norms first",
    "tokens mixed",
    "tied embedding",
)
NOTICED_MIN = 0.95


def wrong(stays: Tensor, generator: torch.Generator) -> Tensor:
    """As many indices as stay, in order, and not the same."""
    count, right = int(stays.sum()), stays.nonzero().flatten()
    while True:
        picked = torch.randperm(len(stays), generator=generator)[:count].sort().values
        if not torch.equal(picked, right):
            return picked


def sabotaged(net: Subject, cut: Cut, sliced: Program, name: str, axis: int, generator: torch.Generator) -> Program:
    """The sliced program with one parameter cut at wrong indices along one axis."""
    tensor = net.program.module.get_parameter(name).detach()
    for other, stays in enumerate(cut.tensor(name)):
        if stays is not None:
            picked = wrong(stays, generator) if other == axis else stays.nonzero().flatten()
            tensor = tensor.index_select(other, picked)
    spoiled = sliced.copy()
    spoiled.module.get_parameter(name).data = tensor.clone()
    return spoiled


def changes_nothing(net: Subject, ours: Program, theirs: Program) -> bool:
    """Whether two programs agree in float64 on inputs that the proof has not seen."""
    inputs = tuple(given.double() if given.is_floating_point() else given for given in net.batch(4))
    with torch.no_grad():
        one, other = (_double(program).run(*inputs) for program in (ours, theirs))
    return all(torch.allclose(one[name], other[name], rtol=1e-9, atol=1e-9) for name in one)


def _double(program: Program) -> Program:
    copied = program.copy()
    copied.module.double()
    return copied


def test_wrong_indices_are_noticed_or_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    noticed, tried = 0, 0
    for net in map(subject, NETS):
        cut = net.cut(0.5, seed=5)
        sliced = operate(net.lab, cut)
        for name, _ in net.program.named_parameters():
            for axis in (axis for axis, stays in enumerate(cut.tensor(name)) if stays is not None):
                spoiled = sabotaged(net, cut, sliced, name, axis, generator)
                proof = prove(net.program, net.lab, cut, spoiled, tolerance=1e-9, dtype=torch.float64)
                tried, noticed = tried + 1, noticed + (not proof.holds)
                assert not proof.holds or changes_nothing(net, spoiled, sliced), (name, axis)
    assert tried > 150
    assert noticed >= NOTICED_MIN * tried
