"""Recipes for the service that were tried on the choice images, by name; `recipes` says which were taken."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.point import Kind
from benchmarks.accuracy.recipe import Recipe

SOFT = {"distill": {"temperature": 2.0, "weight": 0.5}}
TAUGHT = {"distill": {"temperature": 4.0, "weight": 0.9}}
"""Learning from the dense network beside the labels, or almost from it alone."""


def _by(importance: str) -> dict[str, Any]:
    return {"importance": {"kind": importance}}


WEIGHTS = {
    "l1, a tenth of the rate": Recipe(0.1, 5, 2, "cubic"),
    "l1": Recipe(1.0, 5, 2, "cubic"),
    "lamp": Recipe(1.0, 5, 2, "cubic", _by("lamp")),
    "taylor": Recipe(1.0, 5, 2, "cubic", _by("taylor")),
    "taylor, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor")),
    "lamp, taught": Recipe(1.0, 5, 2, "cubic", _by("lamp"), TAUGHT),
    "taylor, taught": Recipe(1.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, taught, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, taught, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, soft, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor"), SOFT),
}
UNITS = {
    "l2, a tenth of the rate": Recipe(0.1, 5, 2, "linear"),
    "l2": Recipe(1.0, 5, 2, "linear"),
    "l2, twice the rate": Recipe(2.0, 5, 2, "linear"),
    "l2, taught": Recipe(1.0, 5, 2, "linear", {}, TAUGHT),
    "l2, taught, twice the rate": Recipe(2.0, 5, 2, "linear", {}, TAUGHT),
    "l2, soft, twice the rate": Recipe(2.0, 5, 2, "linear", {}, SOFT),
    "taylor, taught, twice the rate": Recipe(2.0, 5, 2, "linear", _by("taylor"), TAUGHT),
}
CANDIDATES: dict[Kind, dict[str, Recipe]] = {"sparsity": WEIGHTS, "macs": UNITS}
"""The rate is that of the dense training, unless its name says another; all of them are among `recipes.RATES`."""
