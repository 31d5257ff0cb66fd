"""How many units each model has: fewer would be coarse, and nothing else would tell."""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).with_name("expected.json")


def expected_units() -> dict[str, int]:
    """The least number of units by the name of the model; none where export refuses.

    Counted by another implementation of the labels, or the sum that a definition gives: the channels of a ResNet's
    stem, streams and blocks; width, inner neurons and heads of a transformer. Where the other implementation missed
    units (heads of Lambda layers, of EfficientViT, the inner stream of TNT) the number is that of the definition.
    """
    known: dict[str, int] = json.loads(PATH.read_text())
    return known
