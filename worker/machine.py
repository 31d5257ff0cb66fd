"""The machine that a worker runs on, as far as the system tells without torch."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The model of the processor as Linux names it; elsewhere, or where it has no such line, what Python knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
