"""The norms of what weights are multiplied by equal those that are collected by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.inputs import Inputs

Read = Callable[..., Program]


@pytest.fixture
def program_of(tmp_path: Path) -> Read:
    """Exports a module with a batch that may vary, and reads the file."""
    torch.manual_seed(0)

    def exported(module: nn.Module, *inputs: Tensor) -> Program:
        dynamic = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs)
        torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic), tmp_path / "net.pt2")
        return read(tmp_path / "net.pt2")

    return exported


def seen(program: Program, name: str, batches: Sequence[Tensor]) -> Tensor:
    """The norms after these batches."""
    inputs = Inputs(program, [name])
    for batch in batches:
        inputs(batch)
    return inputs.norms()[name]


class Both(nn.Module):
    """A layer whose input is what another gives."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.first = layer, nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.first(x)))


def test_of_a_linear_layer_over_tokens_and_batches(program_of: Read) -> None:
    module = Both(nn.Linear(5, 3), 5)
    x = torch.randn(7, 4, 5)
    with torch.no_grad():
        expected = torch.tanh(module.first(x)).flatten(0, 1).norm(dim=0)
    found = seen(program_of(module, x), "layer.weight", [x[:3], x[3:]])
    torch.testing.assert_close(found, expected.expand(3, 5))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
        {"kernel_size": 3, "groups": 2, "padding": 1},
        {"kernel_size": 2, "groups": 4, "stride": 3},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 1},
    ],
)
def test_of_a_convolution_over_unfolded_patches(program_of: Read, options: dict[str, Any]) -> None:
    module, x = nn.Conv2d(4, 8, **options), torch.randn(5, 4, 9, 8)
    padding = (1, 1) if module.padding == "same" else module.padding
    patches = functional.unfold(x, module.kernel_size, module.dilation, padding, module.stride)
    norms = patches.square().sum((0, 2)).sqrt().view(4, *module.kernel_size)
    per_group = norms.view(module.groups, 1, 4 // module.groups, *module.kernel_size)
    expected = per_group.expand(-1, 8 // module.groups, -1, -1, -1).reshape(module.weight.shape)
    torch.testing.assert_close(seen(program_of(module, x), "weight", [x[:2], x[2:]]), expected)


def test_of_a_transposed_convolution_every_position_of_its_input(program_of: Read) -> None:
    """Where no output is cut off, each kernel position meets each input once."""
    module, x = nn.ConvTranspose2d(4, 6, 3, stride=2), torch.randn(5, 4, 7, 6)
    expected = x.square().sum((0, 2, 3)).sqrt()[:, None, None, None].expand(4, 6, 3, 3)
    torch.testing.assert_close(seen(program_of(module, x), "weight", [x]), expected)


def test_of_an_embedding_the_root_of_how_often_an_index_is_looked_up(program_of: Read) -> None:
    module, ids = nn.Embedding(6, 3, padding_idx=1), torch.tensor([[0, 1, 1, 5], [5, 5, 1, 2]])
    expected = torch.tensor([1.0, 3.0, 1.0, 0.0, 0.0, 3.0]).sqrt()[:, None].expand(6, 3)
    torch.testing.assert_close(seen(program_of(module, ids), "weight", [ids]), expected)


class Products(nn.Module):
    """Weights that are operands: stored with inputs first, transposed, viewed, cast, and used by einsum."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(
            torch.randn(3, 5) if how in ("transposed", "viewed", "einsum") else torch.randn(5, 3)
        )
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        ways: dict[str, Callable[[], Tensor]] = {
            "matmul": lambda: x @ self.weight,
            "addmm": lambda: torch.addmm(self.bias, x.flatten(0, 1), self.weight, alpha=0.5).unflatten(0, (-1, 2)),
            "transposed": lambda: x @ self.weight.t(),
            "viewed": lambda: functional.linear(x, self.weight.reshape(1, 15).view(3, 5).contiguous()),
            "einsum": lambda: torch.einsum("oi,bti->bto", self.weight, x),
            "cast": lambda: (x.double() @ self.weight.double()).float(),
        }
        return ways[self.how]()


@pytest.mark.parametrize("how", ["matmul", "addmm", "transposed", "viewed", "einsum", "cast"])
def test_of_an_operand_in_the_shape_of_the_parameter(program_of: Read, how: str) -> None:
    module, x = Products(how), torch.randn(6, 2, 5)
    norms = x.flatten(0, 1).norm(dim=0)
    expected = norms[:, None].expand(5, 3) if module.weight.shape == (5, 3) else norms.expand(3, 5)
    torch.testing.assert_close(seen(program_of(module, x), "weight", [x]), expected)


class Twice(nn.Module):
    """One weight that embeds and decides."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(ids)))


def test_the_squares_of_a_tied_weight_add_up(program_of: Read) -> None:
    module, ids = Twice(), torch.tensor([[0, 3], [3, 1]])
    with torch.no_grad():
        hidden = torch.tanh(module.embed(ids)).flatten(0, 1).square().sum(0)
    expected = (hidden.expand(4, 3) + torch.tensor([1.0, 1.0, 0.0, 2.0])[:, None]).sqrt()
    torch.testing.assert_close(seen(program_of(module, ids), "embed.weight", [ids]), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_half_precision_in_float32(program_of: Read, dtype: torch.dtype) -> None:
    """300 squared is beyond float16."""
    module, x = nn.Linear(4, 2).to(dtype), torch.full((8, 4), 300.0, dtype=dtype)
    found = seen(program_of(module, x), "weight", [x])
    torch.testing.assert_close(found, x.float().norm(dim=0).expand(2, 4))


def test_the_program_computes_what_it_did_and_keeps_no_gradient(program_of: Read) -> None:
    module = Both(nn.Linear(5, 3), 5)
    x = torch.randn(7, 4, 5)
    program = program_of(module, x)
    before = {name: tensor.clone() for name, tensor in program.module.state_dict().items()}
    inputs = Inputs(program, ["layer.weight", "first.weight"])
    assert torch.equal(inputs(x), program(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.module.state_dict().items())
    assert all(parameter.grad is None for _, parameter in program.named_parameters())


def test_a_pass_that_fails_counts_for_nothing(program_of: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Both(nn.Linear(5, 3), 5)
    x = torch.randn(7, 5)
    program = program_of(module, x)
    names = ["first.weight", "layer.weight"]
    disturbed, undisturbed = Inputs(program, names), Inputs(program, names)
    for inputs in (disturbed, undisturbed):
        inputs(x[:3])
    monkeypatch.setattr(disturbed, "output", _fail)
    with pytest.raises(MemoryError):
        disturbed(x)
    monkeypatch.undo()
    for inputs in (disturbed, undisturbed):
        inputs(x[3:])
    for name in names:
        assert torch.equal(disturbed.norms()[name], undisturbed.norms()[name])


def _fail(*_: Any) -> None:
    raise MemoryError
