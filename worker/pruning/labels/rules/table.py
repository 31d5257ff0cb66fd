"""Every rule by the name of its operator, as worker.pruning.labels.spelling spells it."""

from __future__ import annotations

from worker.pruning.labels.rules import (
    convolution,
    creation,
    elementwise,
    indexing,
    joining,
    movement,
    products,
    statistics,
)
from worker.pruning.labels.tracer import Rule

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **movement.RULES,
    **creation.RULES,
    **joining.RULES,
    **products.RULES,
    **convolution.RULES,
    **statistics.RULES,
    **indexing.RULES,
}
