"""Training mode of an exported graph: a flag among the arguments of a few operators.

torchao's pass does the same for batch normalization, but sets every dropout probability to 0.5; this one leaves them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx

from worker.program.catalogue import TRAINING_FLAG
from worker.program.operators import name

RUNNING_MEAN, RUNNING_VARIANCE = 3, 4
MOMENTUM = 6
ATTENTION_DROPOUT = 4


def set_training(module: fx.GraphModule, mode: bool) -> int:
    """Sets the flag of every operator that has one; returns how many changed.

    Normalization without running statistics always works on the batch, as the layer it comes from does.
    """
    changed = [node for node in module.graph.nodes if _flag(node) not in (None, mode)]
    for node in changed:
        node.update_arg(TRAINING_FLAG[name(node.target)], mode)
    if changed:
        module.recompile()
    return len(changed)


def calm(module: fx.GraphModule) -> list[str]:
    """Puts a program into evaluation mode, as a file may have been exported in training; returns what was changed."""
    notes = []
    if set_training(module, False):
        notes.append("The program was exported in training mode; it is evaluated in evaluation mode.")
    drawing = [node for node in module.graph.nodes if _attention_dropout(node)]
    for node in drawing:
        index = ATTENTION_DROPOUT
        node.update_arg(index, 0.0) if len(node.args) > index else node.update_kwarg("dropout_p", 0.0)
    if drawing:
        notes.append(f"The dropout inside {len(drawing)} attention operators, which never stops drawing, was removed.")
        module.recompile()
    return notes


@contextmanager
def taking_statistics(module: fx.GraphModule) -> Iterator[dict[str, Tensor]]:
    """While this is entered, each run sets the running statistics of batch norm to those of its batch alone.

    All else is in evaluation mode. Gives the statistics, live, by name: none where there is no batch norm that keeps
    them. Those of a layer that is used several times are the plain average over its uses in the batch.
    """
    set_training(module, False)
    buffers = dict(module.named_buffers(remove_duplicate=False))
    nodes = [node for node in module.graph.nodes if _keeps_statistics(node, buffers)]
    uses: Counter[int] = Counter()
    before = {node: node.args for node in nodes}
    for node in nodes:
        mean = id(buffers[_statistics(node)[0].target])  # one buffer may have several names
        uses[mean] += 1
        node.update_arg(TRAINING_FLAG["batch_norm"], True)
        node.update_arg(MOMENTUM, 1 / uses[mean])
    try:
        _recompiled(module, nodes)
        yield {part.target: buffers[part.target] for node in nodes for part in _statistics(node)}
    finally:
        for node, arguments in before.items():
            node.args = arguments
        _recompiled(module, nodes)


def _keeps_statistics(node: fx.Node, buffers: Mapping[str, Tensor]) -> bool:
    if name(node.target) != "batch_norm" or len(node.args) <= MOMENTUM:
        return False
    return all(
        isinstance(part, fx.Node) and part.op == "get_attr" and part.target in buffers for part in _statistics(node)
    )


def _statistics(node: fx.Node) -> tuple[Any, ...]:
    return node.args[RUNNING_MEAN : RUNNING_VARIANCE + 1]


def _recompiled(module: fx.GraphModule, changed: list[fx.Node]) -> None:
    if changed:
        module.recompile()


def _attention_dropout(node: fx.Node) -> bool:
    if name(node.target) != "scaled_dot_product_attention":
        return False
    given = node.args[ATTENTION_DROPOUT] if len(node.args) > ATTENTION_DROPOUT else node.kwargs.get("dropout_p", 0.0)
    return not (isinstance(given, int | float) and given == 0)


def _flag(node: fx.Node) -> bool | None:
    """The flag of a node, None where it has none that may change."""
    operator = name(node.target)
    index = TRAINING_FLAG.get(operator)
    if index is None or len(node.args) <= index:
        return None
    if operator.endswith(("batch_norm", "instance_norm")) and node.args[RUNNING_MEAN] is None:
        return None
    flag = node.args[index]
    return flag if isinstance(flag, bool) else None
