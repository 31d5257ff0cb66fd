"""How sure a mean is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of these values."""
    return statistics.stdev(values) / math.sqrt(len(values))
