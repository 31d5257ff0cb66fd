"""Recipes for the service that were tried on the choice images, by name; `recipes` says which were taken."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.point import Kind
from benchmarks.accuracy.recipe import Recipe


def _by(importance: str) -> dict[str, Any]:
    return {"importance": {"kind": importance}}


WEIGHTS = {
    "l1, a tenth of the rate": Recipe(0.1, 5, 2, "cubic"),
    "l1": Recipe(1.0, 5, 2, "cubic"),
    "lamp": Recipe(1.0, 5, 2, "cubic", _by("lamp")),
    "taylor": Recipe(1.0, 5, 2, "cubic", _by("taylor")),
    "taylor, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor")),
    "taylor, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor")),
}
UNITS = {
    "l2, a tenth of the rate": Recipe(0.1, 5, 2, "linear"),
    "l2": Recipe(1.0, 5, 2, "linear"),
    "l2, twice the rate": Recipe(2.0, 5, 2, "linear"),
    "l2, 10 rounds": Recipe(1.0, 10, 1, "linear"),
}
CANDIDATES: dict[Kind, dict[str, Recipe]] = {"sparsity": WEIGHTS, "macs": UNITS}
"""The rate is that of the dense training, unless its name says another; all of them are among `recipes.RATES`."""
