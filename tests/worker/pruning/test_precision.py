"""A program in another precision is the same program, through and through, and the process is as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from tests.worker.pruning.cutting import EXAMPLES, Net, program_of
from worker.program.program import Program
from worker.pruning.precision import default_precision, in_precision


def _dense(function: Callable[..., Any], **parts: Any) -> Program:
    torch.manual_seed(0)
    layers = {"a": nn.Linear(5, 12), "b": nn.Linear(12, 4), **parts}
    return program_of(Net(function, **layers), torch.randn(EXAMPLES, 5))


def test_literal_dtypes_follow_and_the_default_comes_back() -> None:
    def function(net: Net, x: Tensor) -> Tensor:
        steps = torch.arange(0, 1, 1 / 12)
        wide = net.a(x).to(torch.float32).half().to(torch.bfloat16)
        return net.b((wide + steps + torch.ones(12, dtype=torch.float32)).float().softmax(1, dtype=torch.float32))

    program = _dense(function)
    (given,) = program.example(3)
    with default_precision(torch.float64), torch.no_grad():
        exact = in_precision(program, torch.float64)
        recorder = _Dtypes(exact.module)
        recorder.run(given.double())
    assert recorder.seen == {torch.float64}
    assert exact.inputs[0].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    assert "float32" not in str(exact.module.graph)


class _Dtypes(fx.Interpreter):
    """Notes the dtypes of all floating tensors."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: set[torch.dtype] = set()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.seen.add(result.dtype)
        return result


def test_the_default_dtype_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), default_precision(torch.float64):
        _ = 1 / 0
    assert torch.get_default_dtype() == torch.float32


def test_ties_and_integers_survive_the_change_of_precision() -> None:
    shared = nn.Linear(12, 12)
    program = _dense(
        lambda net, x: net.b(net.n(net.m(net.a(x)))[:, net.order]), m=shared, n=shared, order=torch.arange(12)
    )
    exact = in_precision(program, torch.float64)
    assert exact.ties() == program.ties() != ()
    assert exact.module.get_buffer("order").dtype == torch.int64
    assert exact.module.get_parameter("m.weight").dtype == torch.float64
