"""Units are really taken out of every hand-made net: the smaller program is proved, exported, reloaded and trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tests.worker.pruning.structured.nets.table import CASES
from tests.worker.pruning.structured.subject import Subject, subject
from worker.program.program import BATCH, Program, named_tensors
from worker.program.writer import write
from worker.pruning.cut import Cut
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate

EXACT = [name for name, case in CASES.items() if case.exact]
SINGLE = {"one head": 12, "fused qkv, one head": 6}
"""Attention without an axis of heads, and the size that its scale stands for."""
SHARES = (0.5, 0.9)
TOLERANCE = 1e-9


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[name], rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def without(net: Subject, cut: Cut) -> Program:
    """The dense program with zeros in place of every entry of a parameter or buffer that belongs to a removed unit."""
    program = net.program.copy()
    for name, tensor in named_tensors(program.module):
        for axis, stays in enumerate(cut.tensor(name)):
            if stays is not None:
                tensor.data.movedim(axis, 0)[~stays] = 0
    return program


def shrunk(dense: Program, sliced: Program) -> bool:
    small = dict(sliced.named_parameters())
    return any(tensor.numel() > small[name].numel() for name, tensor in dense.named_parameters())


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", CASES)
def test_the_sliced_program_is_proved(name: str, share: float) -> None:
    net = subject(name)
    cut = net.cut(share, seed=3)
    sliced = operate(net.lab, cut)
    assert shrunk(net.program, sliced)
    proof = prove(net.program, net.lab, cut, sliced, tolerance=TOLERANCE, dtype=torch.float64)
    assert proof.holds, proof
    assert proof.max_relative_error <= TOLERANCE
    assert proof.effect > 1e-3
    assert not (CASES[name].exact and proof.nodes_restricted)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", EXACT)
def test_zeros_in_the_parameters_do_the_same(name: str, share: float) -> None:
    net = subject(name)
    cut = net.cut(share, seed=4)
    sliced = operate(net.lab, cut)
    with torch.no_grad():
        close(sliced.run(*net.batch(4)), without(net, cut).run(*net.batch(4)))


def parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Under all their names."""
    return dict(module.named_parameters(remove_duplicate=False))


def reached(module: nn.Module, *inputs: Tensor) -> set[str]:
    """The parameters whose memory a gradient arrives at; each gradient must be finite."""
    outputs = [leaf for leaf in tree_leaves(module(*inputs)) if leaf.is_floating_point()]
    sum((output * torch.linspace(-1, 2, output.numel()).view(output.shape)).sum() for output in outputs).backward()
    arrived = {tensor.data_ptr(): tensor.grad for tensor in module.parameters() if tensor.grad is not None}
    assert all(gradient.isfinite().all() for gradient in arrived.values())
    return {name for name, tensor in parameters(module).items() if tensor.data_ptr() in arrived}


def inputs_of(net: Subject, count: int, longer: int) -> tuple[Tensor, ...]:
    """`count` examples; where more than the batch varies, each such size `longer` than at the export."""
    sizes = {name: size.example + longer for name, size in net.program.sizes.items() if name != BATCH}
    return net.program.example({BATCH: count, **sizes}) if sizes else net.batch(count)


@pytest.mark.parametrize("name", CASES)
def test_stock_torch_loads_runs_and_trains_what_is_left(name: str, tmp_path: Path) -> None:
    net = subject(name)
    cut = net.cut(0.5, seed=3)
    sliced = operate(net.lab, cut)
    write(sliced, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for count, longer in ((1, 0), (4, 3)):
        inputs = inputs_of(net, count, longer)
        leaves = tree_leaves(loaded(*inputs))
        with torch.no_grad():
            close(dict(zip(sliced.outputs(), leaves, strict=True)), sliced.run(*inputs))
            dense = net.program.run(*inputs)
        assert [leaf.shape for leaf in leaves] == [output.shape for output in dense.values()]
    assert reached(loaded, *inputs) == reached(net.program.copy().module, *inputs)
    assert parameters(loaded).keys() == parameters(net.program.module).keys()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kept])
def test_what_must_stay_whole_stays_whole(name: str) -> None:
    net = subject(name)
    sliced = operate(net.lab, net.cut(0.9, seed=3))
    for place, size in CASES[name].kept.items():
        parameter, _, axis = place.rpartition(":")
        assert sliced.module.get_parameter(parameter).shape[int(axis)] == size, place


@pytest.mark.parametrize("name", SINGLE)
def test_the_scale_of_attention_is_that_of_the_original_size(name: str) -> None:
    net = subject(name)
    sliced = operate(net.lab, net.cut(0.5, seed=3))
    (attention,) = (node for node in sliced.module.graph.nodes if "attention" in node.name)
    assert attention.kwargs["scale"] == pytest.approx(SINGLE[name] ** -0.5)
