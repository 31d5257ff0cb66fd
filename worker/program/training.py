"""Training mode of an exported graph: a flag among the arguments of a few operators.

torchao's pass does the same for batch normalization, but sets every dropout probability to 0.5; this one leaves them.
"""

from __future__ import annotations

from torch import fx

from worker.program.catalogue import TRAINING_FLAG
from worker.program.operators import name

RUNNING_MEAN = 3
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
