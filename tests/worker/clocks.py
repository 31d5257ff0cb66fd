"""Clocks for those who time programs: what they tell depends on the program, not on the machine."""

from __future__ import annotations

from random import SystemRandom
from typing import Any

import pytest

from worker.methods import timing
from worker.program.program import Program


def by_size(program: Program) -> float:
    """A millisecond for each parameter."""
    return float(sum(parameter.numel() for _, parameter in program.named_parameters()))


def unsteady(monkeypatch: pytest.MonkeyPatch, ms: float = 1.0) -> list[int]:
    """Time goes by size, `ms` for each parameter, and never tells the same twice; the list of how often it ran what."""
    looked: list[int] = []

    def run(program: Program) -> float:
        return 1.0 + ms * by_size(program) * SystemRandom().uniform(0.9, 1.1)

    def pairs(dense: Program, pruned: Program, inputs: Any, runs: int, *_: Any) -> tuple[list[float], list[float]]:
        looked.append(runs)
        return [run(dense)] * runs, [run(pruned)] * runs

    monkeypatch.setattr(timing, "time_pairs", pairs)
    return looked
