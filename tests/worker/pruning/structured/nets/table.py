"""All hand-made nets under one name each."""

from __future__ import annotations

from tests.worker.pruning.structured.case import Case
from tests.worker.pruning.structured.nets import (
    arithmetic,
    attention,
    convolutions,
    frozen,
    mixtures,
    movement,
    sharing,
    statistics,
    transformers,
)

ROOMS = (arithmetic, attention, convolutions, frozen, mixtures, movement, sharing, statistics, transformers)
CASES: dict[str, Case] = {name: case for room in ROOMS for name, case in room.CASES.items()}
