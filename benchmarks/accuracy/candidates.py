"""Recipes for the service that were tried on the choice images, by name; `recipes` says which were taken."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.point import Kind
from benchmarks.accuracy.recipe import Recipe

SOFT: dict[str, Any] = {"distill": {"temperature": 2.0, "weight": 0.5}}
TAUGHT: dict[str, Any] = {"distill": {"temperature": 4.0, "weight": 0.9}}
"""Learning from the dense network beside the labels, or almost from it alone."""

SMOOTHED = SOFT | {"label_smoothing": 0.1}
STEADY: dict[str, Any] = {"warmup_steps": 8, "clip_norm": 1.0}
"""What makes a high rate bearable."""

FULL = SMOOTHED | STEADY


def _by(importance: str) -> dict[str, Any]:
    return {"importance": {"kind": importance}}


WEIGHTS = {
    "l1, a tenth of the rate": Recipe(0.1, 5, 2, "cubic"),
    "taylor": Recipe(1.0, 5, 2, "cubic", _by("taylor")),
    "taylor, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor")),
    "taylor, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor")),
    "taylor, steady, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), STEADY),
    "l1, taught": Recipe(1.0, 5, 2, "cubic", {}, TAUGHT),
    "lamp, taught": Recipe(1.0, 5, 2, "cubic", _by("lamp"), TAUGHT),
    "taylor, taught": Recipe(1.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, taught, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, taught, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), TAUGHT),
    "taylor, soft, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), SOFT),
    "taylor, soft, steady, twice the rate": Recipe(2.0, 5, 2, "cubic", _by("taylor"), SOFT | STEADY),
    "taylor, soft, steady, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), SOFT | STEADY),
    "taylor, soft and smoothed, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), SMOOTHED),
    "taylor, soft and smoothed, steady, four times the rate": Recipe(4.0, 5, 2, "cubic", _by("taylor"), FULL),
    "taylor, soft and smoothed, steady, four times the rate, longer rounds": Recipe(
        4.0, 5, 3, "cubic", _by("taylor"), FULL
    ),
}
UNITS = {
    "l2, a tenth of the rate": Recipe(0.1, 5, 2, "linear"),
    "l2": Recipe(1.0, 5, 2, "linear"),
    "l2, twice the rate": Recipe(2.0, 5, 2, "linear"),
    "l2, taught": Recipe(1.0, 5, 2, "linear", {}, TAUGHT),
    "l2, taught, twice the rate": Recipe(2.0, 5, 2, "linear", {}, TAUGHT),
    "taylor, taught, twice the rate": Recipe(2.0, 5, 2, "linear", _by("taylor"), TAUGHT),
    "l2, soft, twice the rate": Recipe(2.0, 5, 2, "linear", {}, SOFT),
    "l2, soft, four times the rate": Recipe(4.0, 5, 2, "linear", {}, SOFT),
    "l2, soft, steady, twice the rate": Recipe(2.0, 5, 2, "linear", {}, SOFT | STEADY),
    "l2, soft, steady, four times the rate": Recipe(4.0, 5, 2, "linear", {}, SOFT | STEADY),
    "l2, soft and smoothed, steady, four times the rate": Recipe(4.0, 5, 2, "linear", {}, FULL),
    "l2, soft and smoothed, steady, four times the rate, longer rounds": Recipe(4.0, 5, 3, "linear", {}, FULL),
}
CANDIDATES: dict[Kind, dict[str, Recipe]] = {"sparsity": WEIGHTS, "macs": UNITS}
"""The rate is that of the dense training, unless its name says another; the others choose among `recipes.RATES`."""

FINALISTS = frozenset(
    (
        "taylor, soft, steady, four times the rate",
        "taylor, soft and smoothed, steady, four times the rate",
        "taylor, soft and smoothed, steady, four times the rate, longer rounds",
        "l2, soft, steady, four times the rate",
        "l2, soft and smoothed, steady, four times the rate",
        "l2, soft and smoothed, steady, four times the rate, longer rounds",
    )
)
"""What was left after the first seed."""
