"""Parameters are counted, and multiply-accumulates are what torch's own counter sees, before and after a removal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from secateur.removal.counts import count_macs, count_parameters
from secateur.units import ModelUnits
from tests.worker.pruning.structured.subject import subject
from tests.worker.pruning.units.conftest import Find
from worker.program.program import Program
from worker.pruning.surgery.operate import operate

NETS = (
    "convolutions over sequences",
    "convolutions over volumes",
    "depthwise with a multiplier",
    "grouped, the group is the unit",
    "grouped, the unit is an index in every group",
    "transposed",
    "transposed, the group is the unit",
    "squeeze and excite",
    "channel shuffle as an operator",
    "separate qkv, varying number of tokens",
    "matmul and softmax",
    "einsum",
    "heads in the batch",
    "grouped queries, expanded",
    "grouped queries, by the operator",
    "tied embedding",
    "a matrix for each head",
)


def counted(program: Program, batch: int) -> int:
    """Of one batch; the counter knows attention by its products alone."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        program(*program.example(batch))
    flops: int = counter.get_total_flops()
    return flops // 2


def full(units: ModelUnits) -> list[int]:
    return [part.size for part in units.parts]


def numbers(program: Program) -> int:
    return sum(parameter.numel() for _, parameter in program.named_parameters())


@pytest.mark.parametrize("name", NETS)
def test_a_network_before_and_after(name: str) -> None:
    net = subject(name)
    units, whole = net.described, full(net.described)
    assert count_macs(units, whole) * units.batch == counted(net.program, units.batch)
    assert count_parameters(units, whole) == numbers(net.program)
    cut = net.cut(0.5, 0)
    left = [int((net.units.parts.of[~cut.removed.numpy()] == part).sum()) for part in range(len(whole))]
    sliced = operate(net.lab, cut)
    assert count_macs(units, left) * units.batch == counted(sliced, units.batch)
    assert count_parameters(units, left) == numbers(sliced)
    assert count_macs(units, left) < count_macs(units, whole)


class Computed(nn.Module):
    """A function of the input and one parameter of 5 x 6 numbers."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "einsum": lambda x, w: torch.einsum("nab,bc->nac", x, w),
    "einsum, no output named": lambda x, w: torch.einsum("nab,bc", x, w),
    "einsum, dots": lambda x, w: torch.einsum("...b,bc->...c", x, w),
    "einsum, three operands": lambda x, w: torch.einsum("nab,bc,dc->nad", x, w, w),
    "einsum, elementwise": lambda x, w: torch.einsum("nab,bc->nabc", x, w),
    "einsum, summed before": lambda x, w: torch.einsum("nab,bc->nb", x, w),
    "einsum, of activations": lambda x, w: torch.einsum("nab,ncb->nac", x @ w, x @ w),
    "addmm": lambda x, w: torch.addmm(w[0], x[:, 0], w),
    "baddbmm": lambda x, w: torch.baddbmm(x @ w, x, w.expand(x.shape[0], 5, 6)),
    "bmm": lambda x, w: torch.bmm(x, x.transpose(1, 2)),
    "mm": lambda x, w: torch.mm(x.flatten(1), torch.cat([w] * 4)),
    "matmul": lambda x, w: x @ w,
    "matmul of a vector": lambda x, w: (x @ w)[:, :, None] @ w.t(),
    "tensordot": lambda x, w: torch.tensordot(x, w, dims=([2], [0])),
    "linear": lambda x, w: nn.functional.linear(x, w.t()),
    "convolution": lambda x, w: torch.ops.aten.convolution(
        x.transpose(1, 2), w.t()[:, :, None], None, [1], [0], [1], False, [0], 1
    ),
    "transposed convolution": lambda x, w: torch.ops.aten.convolution(
        x.transpose(1, 2), w[:, :, None].expand(5, 6, 2), None, [2], [0], [1], True, [0], 1
    ),
    "attention": lambda x, w: nn.functional.scaled_dot_product_attention(
        (x @ w)[:, None], (x @ w)[:, None], x[:, None]
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_product_is_counted(name: str, find: Find) -> None:
    found = find(Computed(PRODUCTS[name]), [torch.randn(2, 4, 5)])
    units = found.described
    assert count_macs(units, full(units)) * units.batch == counted(found.program, units.batch)


class Last(nn.Module):
    """Two layers of cells that know their past."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(5, 6, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.cells(x)[0]
        return output


@pytest.mark.filterwarnings("ignore:The tensor attribute")
def test_recurrent_layers_count_every_matrix_at_every_step(find: Find) -> None:
    units = find(Last(), [torch.randn(2, 7, 5)]).described
    assert count_macs(units, full(units)) == 7 * 4 * 6 * (5 + 6 + 6 + 6)


@pytest.mark.parametrize("name", ["channel shuffle as views", "split in unequal pieces", "grouped queries, expanded"])
def test_what_a_unit_costs_is_what_goes_with_it(name: str) -> None:
    units = subject(name).described
    whole = full(units)
    for index, group in enumerate(units.groups):
        alone = [group.part[at] if len(group.part) > 1 else group.part[0] for at in range(group.size)]
        for count, told in ((count_parameters, group.parameters_per_unit), (count_macs, group.macs_per_unit)):
            lost = [
                count(units, whole) - count(units, [size - (at == part) for at, size in enumerate(whole)])
                for part in alone
            ]
            assert told == pytest.approx(sum(lost) / group.size)
        left = [0 if part.group == index else part.size for part in units.parts]
        assert group.share == pytest.approx(1 - count_parameters(units, left) / count_parameters(units, whole))
    bare = count_parameters(units, [0] * len(whole))
    assert units.prunable_share == pytest.approx(1 - bare / count_parameters(units, whole))


def test_a_tied_parameter_counts_once_and_an_unused_one_counts(find: Find) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.unused = nn.Embedding(11, 8), nn.Linear(3, 3)
            self.mix, self.out = nn.Linear(8, 8, bias=False), nn.Linear(8, 11, bias=False)
            self.out.weight = self.words.weight

        def forward(self, words: Tensor) -> Tensor:
            return self.out(torch.relu(self.mix(self.words(words))))

    units = find(Tied(), [torch.randint(0, 11, (2, 6))]).described
    assert count_parameters(units, full(units)) == 11 * 8 + 8 * 8 + 12
    assert [(group.name, group.size) for group in units.groups] == [("words.weight", 8)]
    assert units.groups[0].parameters_per_unit == 11 + (8 * 8 - 7 * 7)
    assert units.prunable_share == (11 * 8 + 8 * 8) / (11 * 8 + 8 * 8 + 12)
