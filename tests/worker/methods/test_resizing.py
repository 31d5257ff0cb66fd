"""Numbers go from a whole program to a smaller one and back, and land where they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.worker.jobs import export
from tests.worker.networks import Case
from worker.methods.anatomy import Anatomy
from worker.methods.resizing import copy_numbers, graft, put_back, resized
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.best import tensors_of
from worker.recovery.state import TrainState, pack

FIRST = {"0.weight": frozenset({1, 4})}
LATER = {"0.weight": frozenset({0, 1, 4})}
STAY = [0, 2, 3, 5]


@pytest.fixture
def upload(tmp_path: Path) -> Program:
    """Six channels between one and four; every number differs from every other."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    export(Case(module, (torch.randn(2, 1, 5, 5),), {}), tmp_path / "upload.pt2")
    return read(tmp_path / "upload.pt2")


def test_put_back_leaves_zeros_and_graft_what_was_there(upload: Program) -> None:
    anatomy = Anatomy(upload)
    cut = anatomy.cut(FIRST)
    small = anatomy.operated(cut)
    before = {name: tensor.detach().clone() for name, tensor in tensors_of(upload).items()}
    with torch.no_grad():
        for tensor in tensors_of(small).values():
            tensor.add_(1)

    put_back(small, cut, anatomy.whole)
    grafted = upload.copy()
    graft(small, cut, grafted)

    for name, axis in (("0.weight", 0), ("0.bias", 0), ("1.running_var", 0), ("3.weight", 1)):
        zeroed, mixed = tensors_of(anatomy.whole)[name], tensors_of(grafted)[name]
        gone = torch.tensor([1, 4])
        assert torch.equal(zeroed.index_select(axis, torch.tensor(STAY)), tensors_of(small)[name])
        assert not zeroed.index_select(axis, gone).any()
        assert torch.equal(mixed.index_select(axis, torch.tensor(STAY)), tensors_of(small)[name])
        assert torch.equal(mixed.index_select(axis, gone), before[name].index_select(axis, gone))
    assert torch.equal(tensors_of(anatomy.whole)["3.bias"], before["3.bias"] + 1)
    assert torch.equal(tensors_of(grafted)["3.bias"], before["3.bias"] + 1)


def test_what_is_put_back_is_cut_out_again(upload: Program) -> None:
    anatomy = Anatomy(upload)
    cut = anatomy.cut(FIRST)
    small = anatomy.operated(cut)
    with torch.no_grad():
        for tensor in tensors_of(small).values():
            tensor.mul_(3)
    put_back(small, cut, anatomy.whole)
    again = tensors_of(anatomy.operated(cut))
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors_of(small).items())


def test_numbers_are_copied_between_programs_of_one_graph(upload: Program) -> None:
    other = upload.copy()
    with torch.no_grad():
        tensors_of(other)["0.weight"].zero_()
    copy_numbers(upload, other)
    assert all(torch.equal(tensors_of(other)[name], tensor) for name, tensor in tensors_of(upload).items())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_remembers_what_is_left(upload: Program, kind: type[torch.optim.Optimizer]) -> None:
    """Two channels are gone when it makes its steps, and one more goes after that."""
    anatomy = Anatomy(upload)
    first, later = anatomy.cut(FIRST), anatomy.cut(LATER)
    small = dict(anatomy.operated(first).named_parameters())
    optimizer = kind(small.values(), **({"momentum": 0.9} if kind is torch.optim.SGD else {}))  # type: ignore[call-arg]
    for _ in range(2):
        for parameter in small.values():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    moments = {
        f"{name}/{key}": value
        for name, parameter in small.items()
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, torch.Tensor)
    }

    state = resized(TrainState(pack(optimizer=moments), {"round": 1}), first, later, anatomy.whole)

    left = state.part("optimizer")
    assert state.round_index == 1
    assert left.keys() == moments.keys()
    for name, axis in (("0.weight", 0), ("0.bias", 0), ("3.weight", 1)):
        for path in (path for path in moments if path.startswith(f"{name}/")):
            kept = moments[path] if moments[path].dim() == 0 else moments[path].narrow(axis, 1, 3)
            assert torch.equal(left[path], kept), path
            assert left[path].is_contiguous()
    assert all(torch.equal(left[path], moments[path]) for path in moments if path.startswith("3.bias/"))
