"""How the networks are trained, pruned and trained again: the same for both sides.

All of it was chosen on trial splits with other seeds, which leave the test images out.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.spec.recover import FineTune
from secateur.spec.training import AdamW, Sgd

AMOUNT = 0.5
ROUNDS = 4
CURVE = "linear"


@dataclass(frozen=True)
class Recipe:
    """`dense` trains from scratch for its `epochs`; `recover`, on the images in `part`, follows each round."""

    dense: FineTune
    recover: FineTune
    part: str


def _recipe(optimizer: Sgd | AdamW, rate: float, epochs: int, again: float, part: str) -> Recipe:
    dense = FineTune(optimizer=optimizer, learning_rate=rate, epochs=epochs)
    recover = FineTune(optimizer=optimizer, learning_rate=again, epochs_per_round=1, epochs=2)
    return Recipe(dense, recover, part)


RECIPES = {
    ("mnist", "cnn"): _recipe(Sgd(weight_decay=5e-4), 0.05, 2, 0.02, "recovery"),
    ("mnist", "vit"): _recipe(AdamW(weight_decay=0.05), 2e-3, 7, 1e-3, "train"),
    ("digits", "cnn"): _recipe(Sgd(weight_decay=5e-4), 0.05, 3, 0.02, "train"),
    ("digits", "vit"): _recipe(AdamW(weight_decay=0.05), 2e-3, 10, 1e-3, "train"),
}
