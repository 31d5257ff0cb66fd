"""How many units each model has: fewer would be coarse, and nothing else would tell."""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).with_name("expected.json")


def expected_units() -> dict[str, int]:
    """The least number of units by the name of the model.

    Counted by another implementation of the labels; for plain families they are the sums that their definitions give:
    64 + 128 + 256 + 512 channels and those inside the blocks of a ResNet; width, neurons and heads of a transformer.
    """
    known: dict[str, int] = json.loads(PATH.read_text())
    return known
