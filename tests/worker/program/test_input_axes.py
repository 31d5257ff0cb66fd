"""The axis along which a weight's inputs lie: read off the graph, through whatever view the weight takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.program.inspection import inspect
from worker.program.reader import read

Export = Callable[..., Path]
Use = Callable[[Tensor, Tensor], Tensor]


class Using(nn.Module):
    """One weight, used in one way."""

    def __init__(self, use: Use, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape))
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.weight)


def axis(export: Export, use: Use, shape: tuple[int, ...], *given: int) -> int | None:
    (layer,) = inspect(read(export(Using(use, *shape).eval(), [torch.randn(2, *given)]))).layers
    assert layer.name == "weight"
    return layer.input_axis


@pytest.mark.parametrize(
    ("use", "shape", "expected"),
    [
        (F.linear, (5, 6), 1),
        (lambda x, w: F.linear(x, w.t()), (6, 5), 0),
        (lambda x, w: x @ w, (6, 5), 0),
        (lambda x, w: x @ w.mT, (5, 6), 1),
        (lambda x, w: (w @ x.t()).t(), (5, 6), 1),
        (lambda x, w: torch.addmm(x[:, :5], x, w), (6, 5), 0),
        (lambda x, w: F.linear(x, w[1:3]), (5, 6), 1),
        (lambda x, w: F.linear(x, w.to(torch.float64).float().contiguous()), (5, 6), 1),
        (lambda x, w: F.linear(x, w.squeeze(0)), (1, 5, 6), 2),
        (lambda x, w: F.linear(x, w.permute(2, 1, 0)[0]), (6, 5, 3), 0),
        (lambda x, w: F.linear(x, w.view(10, 6)), (2, 5, 6), 2),
        (lambda x, w: torch.einsum("ni,oi->no", x, w), (5, 6), 1),
        (lambda x, w: torch.einsum("ni,iho->nho", x, w), (6, 3, 5), 0),
        (lambda x, w: torch.einsum("oi,ni->no", w.t(), x), (6, 5), 0),
        (lambda x, w: torch.tensordot(x, w, dims=([1], [1])), (5, 6), 1),
        (lambda x, w: F.bilinear(x, x, w), (5, 6, 6), 2),
        (lambda x, w: F.linear(x, w.reshape(5, 6)), (5, 2, 3), None),
        (lambda x, w: F.linear(x[:, :3], w[:, :3]), (5, 6), None),
        (lambda x, w: F.linear(x, w.flip(1)), (5, 6), None),
    ],
)
def test_of_a_product(use: Use, shape: tuple[int, ...], expected: int | None, export: Export) -> None:
    assert axis(export, use, shape, 6) == expected


@pytest.mark.parametrize(
    ("use", "shape", "expected"),
    [
        (F.conv2d, (5, 6, 3, 3), 1),
        (lambda x, w: F.conv2d(x, w, groups=2), (4, 3, 3, 3), 1),
        (F.conv_transpose2d, (6, 5, 3, 3), 0),
        (lambda x, w: F.conv_transpose2d(x, w, groups=2), (6, 5, 3, 3), None),
    ],
)
def test_of_a_convolution(use: Use, shape: tuple[int, ...], expected: int | None, export: Export) -> None:
    assert axis(export, use, shape, 6, 7, 7) == expected


def test_of_recurrent_layers(export: Export) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.LSTM(6, 8, batch_first=True, proj_size=3)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)[0][:, -1]

    found = inspect(read(export(Last().eval(), [torch.randn(2, 4, 6)])))
    assert [(layer.name, layer.input_axis) for layer in found.layers] == [
        ("body.weight_ih_l0", 1), ("body.weight_hh_l0", 1), ("body.weight_hr_l0", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
def test_an_embedding_has_one_only_where_a_layer_shares_it(tied: bool, export: Export) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            if tied:
                self.head.weight = self.words.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.words(ids).mean(1))

    layers = inspect(read(export(Words().eval(), [torch.randint(0, 7, (2, 5))]))).layers
    assert {layer.name: (layer.operator, layer.input_axis) for layer in layers} == (
        {"words.weight": ("embedding", 1)}
        if tied
        else {"words.weight": ("embedding", None), "head.weight": ("linear", 1)}
    )
