"""The noun: copies, modes, examples, and the names of what goes in and out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

from worker.program.examples import example_input
from worker.program.program import Program
from worker.program.reader import read

Export = Callable[..., Path]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)
        self.plain = nn.BatchNorm1d(4, track_running_stats=False)
        self.register_buffer("ones", torch.ones(4), persistent=False)

    def forward(self, word: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.drop(self.norm(self.words(word.long())))
        return torch.where(allowed[:, None], hidden, self.ones + torch.zeros(4)), self.plain(hidden)


@pytest.fixture
def program(export: Export) -> Program:
    return read(export(Net().eval(), [torch.tensor([0, 2], dtype=torch.int32), torch.ones(2, dtype=torch.bool)]))


def _arguments(program: Program, name: str) -> list[tuple[object, ...]]:
    return [node.args[1:] for node in program.module.graph.nodes if str(node.target).startswith(f"aten.{name}.")]


def test_training_mode_keeps_the_probability_of_dropout(program: Program) -> None:
    assert _arguments(program, "dropout") == [(0.3, False)]
    program.set_training(True)
    assert _arguments(program, "dropout") == [(0.3, True)]
    assert [given[4] for given in _arguments(program, "batch_norm")] == [True, True]
    program.set_training(False)
    assert _arguments(program, "dropout") == [(0.3, False)]
    assert [given[4] for given in _arguments(program, "batch_norm")] == [False, True]


def test_dropout_zeroes_its_share_in_training_only(program: Program) -> None:
    given = (torch.zeros(4000, dtype=torch.int32), torch.ones(4000, dtype=torch.bool))
    with torch.no_grad():
        program.module.get_parameter("norm.bias").fill_(1.0)
    assert torch.equal(program(*given)[0], program(*given)[0])
    program.set_training(True)
    assert (program(*given)[0] == 0).float().mean() == pytest.approx(0.3, abs=0.03)


def test_evaluation_changes_nothing_and_training_the_statistics(program: Program) -> None:
    def state() -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in program.module.state_dict().items()}

    before = state()
    program(*program.example(8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state().items())
    program.set_training(True)
    program(*program.example(8))
    changed = {name for name, tensor in state().items() if not torch.equal(tensor, before[name])}
    assert changed == {"norm.running_mean", "norm.running_var"}


def test_examples_are_valid_and_repeatable(program: Program) -> None:
    word, allowed = program.example(50)
    assert word.dtype == torch.int32
    assert set(word.tolist()) == {0, 1, 2}
    assert allowed.dtype == torch.bool
    assert set(allowed.tolist()) == {False, True}
    assert all(torch.equal(a, b) for a, b in zip(program.example(5), program.example(5), strict=True))
    assert not torch.equal(program.example(50, seed=1)[0], word)


def test_a_copy_shares_nothing(program: Program) -> None:
    given = program.example(3)
    expected = program.run(*given)
    copied = program.copy()
    copied.set_training(True)
    with torch.no_grad():
        for parameter in copied.module.parameters():
            parameter.zero_()
    copied.module.get_buffer("ones").zero_()
    assert all(torch.equal(tensor, program.run(*given)[name]) for name, tensor in expected.items())
    assert copied.module.state_dict().keys() == program.module.state_dict().keys()
    assert "ones" not in copied.module.state_dict()


def test_parameters_come_once_under_their_original_names(program: Program) -> None:
    names = [name for name, _ in program.named_parameters()]
    assert names == ["words.weight", "norm.weight", "norm.bias", "plain.weight", "plain.bias"]


def test_moving_moves_tensors_masks_and_new_tensors(program: Program) -> None:
    program.masks = {"words.weight": torch.ones(3, 4, dtype=torch.bool)}
    assert program.to("meta") is program
    assert {tensor.device.type for tensor in program.module.state_dict().values()} == {"meta"}
    assert program.masks["words.weight"].device.type == "meta"
    assert {tensor.device.type for tensor in program.run(*program.example(2)).values()} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_program_gives_the_same_on_cuda(program: Program) -> None:
    expected = program.run(*program.example(4))
    program.to("cuda")
    for name, tensor in program.run(*program.example(4)).items():
        assert torch.allclose(tensor.cpu(), expected[name], atol=1e-5)


def test_an_example_of_a_mask_hides_something_of_every_row_and_never_all() -> None:
    node = fx.Graph().placeholder("mask")
    for shape in ((3, 5), (4, 1, 1, 2)):
        mask = example_input(node, torch.bool, shape, torch.Generator().manual_seed(0))
        assert mask.shape == shape
        assert mask.any(-1).all()
        assert not mask.all(-1).any()
    assert example_input(node, torch.bool, (), torch.Generator()).shape == ()
