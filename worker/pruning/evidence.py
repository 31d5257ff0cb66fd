"""What an importance may look at besides the weight, and how it adds up over batches of examples.

All that is gathered from gradients comes from one number for each weight and batch, its *effect*: gradient times
weight. To first order the loss of the batch falls by so much when the weight becomes zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """The seed of the job and, by the name of the parameter, what was gathered: float32, shaped as the weight."""

    seed: int = 0
    gathered: Mapping[str, Tensor] = field(default_factory=dict)


NOTHING = Evidence()
"""For what needs none."""


class Sum(Protocol):
    """Adds up the effects of single weights, or of whole units: tensors by any names, of the same shapes each time."""

    def add(self, effects: Mapping[str, Tensor], labels: float) -> None:
        """Takes the effects of one batch, whose labels weigh so much together; they are not kept."""

    def total(self) -> dict[str, Tensor]:
        """What has been gathered, by name; the larger, the more it matters."""


class Squares:
    """The mean over batches of the squared effect (Molchanov et al. 2019, of first order)."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches = 0

    def add(self, effects: Mapping[str, Tensor], labels: float) -> None:
        self._batches += 1
        for name, effect in effects.items():
            _add(self._sums, name, effect.square())

    def total(self) -> dict[str, Tensor]:
        return {name: total / self._batches for name, total in self._sums.items()}


class Mean:
    """The magnitude of the effect on the mean loss over all labels (Lee et al. 2019, SNIP: connection sensitivity).

    The paper divides by the sum over all weights, which changes no order.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._labels = 0.0

    def add(self, effects: Mapping[str, Tensor], labels: float) -> None:
        self._labels += labels
        for name, effect in effects.items():
            _add(self._sums, name, effect * labels)

    def total(self) -> dict[str, Tensor]:
        return {name: (total / self._labels).abs_() for name, total in self._sums.items()}


class Moved:
    """Minus the sum of the effects over steps of training, signed (Sanh et al. 2020).

    Positive where the steps moved a weight away from zero. In the paper the scores are parameters of their own, learnt
    in all of training with a straight-through gradient: each step masks the weights anew by the scores so far, those
    masked get gradients too and may come back, and the optimizer of the scores scales their sum. Here the scores are
    summed over a fixed number of steps before a round, of the weights that are left, and what is gone stays gone.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, effects: Mapping[str, Tensor], labels: float) -> None:
        for name, effect in effects.items():
            _add(self._sums, name, -effect)

    def total(self) -> dict[str, Tensor]:
        return self._sums


SUMS: dict[str, Callable[[], Sum]] = {"taylor": Squares, "snip": Mean, "movement": Moved}
"""Every importance of the spec that is gathered from gradients, of weights and of units alike."""


def _add(sums: dict[str, Tensor], name: str, more: Tensor) -> None:
    if name in sums:
        sums[name] += more
    else:
        sums[name] = more
