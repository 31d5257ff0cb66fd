"""What an inspection says: shapes with names for what varies, prunable layers, and the loss that an output fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import ProgramFails
from worker.program.inspection import inspect
from worker.program.layers import prunable
from worker.program.reader import read

Export = Callable[..., Path]


class Everything(nn.Module):
    """A weight for each operator that pruning knows, and parameters that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.position = nn.Parameter(torch.randn(3, 4))
        self.norm = nn.LayerNorm((3, 4))
        self.conv = nn.Conv1d(4, 4, 1)
        self.up = nn.ConvTranspose1d(4, 4, 1)
        self.linear = nn.Linear(4, 4)
        self.product = nn.Parameter(torch.randn(4, 4))
        self.turned = nn.Parameter(torch.randn(1, 4, 4))
        self.mixed = nn.Parameter(torch.randn(4, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.GRU(4, 4, batch_first=True)
        self.scale = nn.Parameter(torch.randn(3, 4))
        self.unused = nn.Linear(4, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.position) * self.scale
        x = self.up(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x = self.linear(x) @ self.product
        x = x @ self.turned.squeeze(0).t().to(torch.float32)
        x = torch.einsum("nsc,cd->nsd", x, self.mixed)
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.recurrent(x)[0][:, -1]


WEIGHTS = {
    "words.weight": "embedding",
    "conv.weight": "conv1d",
    "up.weight": "conv_transpose1d",
    "linear.weight": "linear",
    "product": "matmul",
    "turned": "matmul",
    "mixed": "einsum",
    "attention.in_proj_weight": "linear",
    "attention.out_proj.weight": "linear",
    "recurrent.weight_ih_l0": "gru",
    "recurrent.weight_hh_l0": "gru",
}


def test_weights_are_prunable_and_nothing_else(export: Export) -> None:
    assert prunable(read(export(Everything().eval(), [torch.randint(0, 5, (2, 3))]))) == WEIGHTS


def test_an_inspection_counts_and_names(export: Export) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).eval()
    module[0].requires_grad_(False)
    with torch.no_grad():
        module[3].weight[0].zero_()
    found = inspect(read(export(module, [torch.randn(2, 3, 4, 4)])))
    assert [(given.name, given.dtype, given.shape) for given in found.inputs] == [
        ("input", "float32", ("batch", 3, 4, 4))
    ]
    assert [(given.name, given.shape, given.ends_in) for given in found.outputs] == [("0", ("batch", 2), "logits")]
    assert (found.batch.kind, found.batch.minimum, found.batch.maximum) == ("dynamic", 1, 64)
    assert found.parameters == 4 + 4 + 16 * 2 + 2
    assert found.state_bytes == sum(tensor.nbytes for tensor in module.state_dict().values())
    assert [(layer.name, layer.total, layer.zeros) for layer in found.layers] == [
        ("0.weight", 108, 0),
        ("3.weight", 32, 16),
    ]
    assert found.written_by == torch.__version__


def test_a_tied_tensor_counts_once(export: Export) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.words(ids))

    found = inspect(read(export(Tied(), [torch.randint(0, 7, (2, 5))])))
    assert (found.parameters, found.state_bytes) == (28, 112)
    assert found.tied == (("words.weight", "head.weight"),)
    assert [layer.name for layer in found.layers] == ["words.weight"]


@pytest.mark.parametrize(
    ("last", "shape", "ending"),
    [
        (nn.Identity(), (4,), "logits"),
        (nn.Softmax(-1), (4,), "softmax"),
        (nn.Softmax(1), (4, 3, 3), "softmax"),
        (nn.LogSoftmax(1), (4,), "log_softmax"),
        (nn.Softmax(2), (4, 3, 3), "logits"),
        (nn.Sigmoid(), (4,), "logits"),
    ],
)
def test_the_end_of_a_network_is_recognised(
    last: nn.Module, shape: tuple[int, ...], ending: str, export: Export
) -> None:
    found = inspect(read(export(nn.Sequential(nn.ReLU(), last), [torch.randn(2, *shape)])))
    assert found.outputs[0].ends_in == ending


def test_sizes_that_vary_have_names_in_the_outputs(tmp_path: Path) -> None:
    class Grows(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"same": x * 2, "double": torch.cat([x, x], 1), "rows": x.flatten(0, 1), "labels": x.argmax(-1)}

    path = tmp_path / "model.pt2"
    batch, length = torch.export.Dim("batch", min=1, max=9), torch.export.Dim("length", min=2, max=50)
    shapes = ({0: batch, 1: length},)
    torch.export.save(torch.export.export(Grows(), (torch.randn(2, 5, 3),), dynamic_shapes=shapes), path)
    found = inspect(read(path))
    length_name = found.inputs[0].shape[1]
    assert found.inputs[0].shape == ("batch", length_name, 3)
    assert {given.name: given.shape for given in found.outputs} == {
        "same": ("batch", length_name, 3),
        "double": ("batch", f"2*{length_name}", 3),
        "rows": ("varies", 3),
        "labels": ("batch", length_name),
    }
    assert found.outputs[-1].ends_in is None


class Words(nn.Module):
    """Indices into tables of 50 and 9 rows, on several ways."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.large, self.small, self.way = nn.Embedding(50, 4), nn.Embedding(9, 4), way

    def forward(self, ids: Tensor) -> Tensor:
        return self.large(self.way(ids))


@pytest.mark.parametrize(
    ("way", "below"),
    [
        (lambda ids: ids, 50),
        (lambda ids: ids.unsqueeze(1).flatten(1).int().long().t(), 50),
        (lambda ids: ids.to(torch.bool).long(), None),
        (lambda ids: ids.to(torch.uint8).long(), None),
        (lambda ids: ids.clamp(0, 49), None),
        (lambda ids: ids % 50, None),
        (lambda ids: ids[:, 0], None),
        (lambda ids: torch.where(ids > 3, ids, 0), None),
    ],
)
def test_indices_that_reach_a_table_whole_are_bounded_by_it(
    way: Callable[[Tensor], Tensor], below: int | None, export: Export
) -> None:
    found = inspect(read(export(Words(way), [torch.randint(0, 9, (2, 3))])))
    assert found.inputs[0].below == below


def test_the_smallest_table_decides_and_others_have_no_bound(export: Export) -> None:
    class Both(Words):
        def forward(self, ids: Tensor, more: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
            return self.large(ids) + self.small(ids) + x * more

    given = [torch.randint(0, 9, (2, 3)), torch.ones(2, 3, 1, dtype=torch.int64), torch.randn(2, 3, 4)]
    found = inspect(read(export(Both(lambda ids: ids), given)))
    assert [wanted.below for wanted in found.inputs] == [9, None, None]


def test_named_sizes_have_ranges(tmp_path: Path) -> None:
    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum((1, 2))

    path = tmp_path / "model.pt2"
    length = torch.export.Dim("length", min=3, max=50)
    shapes = ({0: torch.export.Dim("batch", min=1, max=9), 1: length, 2: torch.export.Dim.AUTO},)
    torch.export.save(torch.export.export(Sums(), (torch.randn(2, 5, 4),), dynamic_shapes=shapes), path)
    (wanted,) = inspect(read(path)).inputs
    named, free = wanted.shape[1:]
    assert wanted.ranges == {named: (3, 50), free: (1, None)}


@pytest.mark.parametrize("sparse", [True, False])
def test_gradients_are_dense(sparse: bool, export: Export) -> None:
    module = nn.Embedding(5, 4, sparse=sparse)
    ids = torch.tensor([[0, 1, 1], [4, 0, 1]])
    program = read(export(module, [ids]))
    assert len([note for note in inspect(program).notes if "sparse" in note]) == sparse
    for call in (program, module):
        call(ids).square().sum().backward()
    gradient = program.module.get_parameter("weight").grad
    assert gradient is not None
    assert not gradient.is_sparse
    assert module.weight.grad is not None
    assert torch.equal(gradient, module.weight.grad.to_dense())


def test_a_program_that_cannot_run_is_said_to_fail(tmp_path: Path) -> None:
    from tests.worker.program.attacks import MODEL, clean, edited, rewrite

    def wrong(model: dict[str, object]) -> None:
        nodes = model["graph_module"]["graph"]["nodes"]  # type: ignore[index]
        next(node for node in nodes if "gelu" in node["target"])["inputs"][1]["arg"]["as_string"] = "sideways"

    path = rewrite(clean(tmp_path / "clean.pt2"), tmp_path / "wrong.pt2", {MODEL: edited(wrong)})
    with pytest.raises(ProgramFails, match="approximate"):
        inspect(read(path))
