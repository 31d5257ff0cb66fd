"""Gives a program numbers behind which no error can hide: activations of order one, and no constant parameter.

Fresh networks hold scales of zero, layer scales of 1e-6 and statistics that were never taken: much of what they compute
does not reach their outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from worker.program.catalogue import CASTS, MOVEMENT
from worker.program.operators import name
from worker.program.program import Program

EXAMPLES_MIN, EXAMPLES_MAX = 3, 16
NUMBERS = 1 << 18
"""Of one input that are drawn, where that gives a number of examples between the two."""
VARIANCE_MIN = 0.3
"""Of the mean over all channels: what hardly varied in these examples may vary in others."""
WEAK = 0.1
STRENGTH = 0.5
ORDER_ONE = (0.5, 2.0)
WEIGHT_POSITION = {
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "conv1d", "conv2d", "conv3d"), 1),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1),
    **{"embedding": 0, "addmm": 2},
}
SCALE_POSITION = {
    **dict.fromkeys(("batch_norm", "instance_norm"), 1),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm"), 2),
}
TIMES = ("mul", "multiply")


def redraw(program: Program, seed: int = 0) -> None:
    """Spreads constant and faint parameters; then scales weights and takes running statistics on one batch."""
    generator = torch.Generator().manual_seed(seed)
    scales = set(_scales(program.module.graph))
    with torch.no_grad():
        for parameter_name, parameter in program.named_parameters():
            if parameter.is_floating_point():
                _wake(parameter, parameter_name in scales, generator)
        Calibration(program.module).run(*program.example(_examples(program), seed))


def _examples(program: Program) -> int:
    """More of small ones: statistics of few numbers do not fit other examples, which then grow from layer to layer."""
    largest = max(tensor.numel() for tensor in program.example(EXAMPLES_MIN)) // EXAMPLES_MIN
    return max(EXAMPLES_MIN, min(EXAMPLES_MAX, NUMBERS // largest))


class Calibration(fx.Interpreter):
    """Runs a program on one batch; on the way a weight whose result is not of order one is scaled until it is."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._done: set[str] = set()

    def run_node(self, node: fx.Node) -> Any:
        """The node's value with the numbers that its parameters have from here on."""
        called = name(node.target)
        if called == "batch_norm":
            self._take_statistics(node)
        result = super().run_node(node)
        weight = self._first_use(node, WEIGHT_POSITION.get(called))
        if weight is None:
            return result
        spread = result.std().item()
        if spread > 0 and not ORDER_ONE[0] <= spread <= ORDER_ONE[1]:
            weight /= spread
            return super().run_node(node)
        return result

    def _take_statistics(self, node: fx.Node) -> None:
        """Sets running mean and variance to those of what arrives, with a floor under the variance."""
        if node.args[5] is True:
            return
        mean, variance = self._first_use(node, 3), self._first_use(node, 4)
        given = self.env[node.all_input_nodes[0]]
        axes = [axis for axis in range(given.dim()) if axis != 1]
        if mean is not None and variance is not None:
            found = given.var(axes, correction=0)
            mean.copy_(given.mean(axes))
            variance.copy_(found + VARIANCE_MIN * found.mean() + 1e-6)

    def _first_use(self, node: fx.Node, position: int | None) -> Tensor | None:
        """The tensor of the state at a position of the arguments, unless it is none or was used before."""
        source = None if position is None or position >= len(node.args) else node.args[position]
        if not isinstance(source, fx.Node) or source.op != "get_attr" or str(source.target) in self._done:
            return None
        self._done.add(str(source.target))
        tensor: Tensor = self.env[source]
        return tensor


def _wake(parameter: nn.Parameter, scale: bool, generator: torch.Generator) -> None:
    """Spreads a constant around its value, or around one if it scales, and lifts what is faint to a visible size."""
    strength, centre = float(parameter.square().mean().sqrt()), float(parameter.mean())
    constant = parameter.numel() == 1 or float(parameter.std()) < 0.01 * strength or strength == 0
    if not constant:
        if strength < WEAK:
            parameter.mul_(STRENGTH / strength)
        return
    drawn = torch.rand(parameter.shape, generator=generator).to(parameter.dtype) + 0.5
    if strength >= WEAK:
        parameter.copy_(centre * drawn)
    elif scale:
        parameter.copy_(drawn)
    else:
        parameter.copy_(STRENGTH * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))


def _scales(graph: fx.Graph) -> Iterator[str]:
    """The names of parameters that multiply activations."""
    for node in graph.nodes:
        if node.op == "get_attr" and any(_multiplies(node, user) for user in node.users):
            yield str(node.target)


def _multiplies(given: fx.Node, user: fx.Node) -> bool:
    called = name(user.target).removesuffix("_")
    if called in MOVEMENT | CASTS:
        return any(_multiplies(user, further) for further in user.users)
    position = SCALE_POSITION.get(called)
    return called in TIMES or (position is not None and position < len(user.args) and user.args[position] is given)
