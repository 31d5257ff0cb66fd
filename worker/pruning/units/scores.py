"""How much each unit matters, from all the weights that go with it.

A unit's magnitude is the mean square (l2) or the mean absolute value (l1) of every entry that it owns: its own weights,
those of its consumers, biases and norms (the groups of Fang et al. 2023, DepGraph). A mean, so that units of one group
that own different numbers of entries compare. Or it is what was gathered on data from the sum of gradient times weight
over these entries, which is what the loss changes by when all of them go (taylor: its mean square, Molchanov et al.
2019; snip: its magnitude, van Amersfoort et al. 2020); or the sum of distances to the other units of the group
(geometric_median, He et al. 2019).

Its score is its share of what is left of the group when its turn comes: the magnitude over the sum of those of all
units of the group that are not smaller (as LAMP does for the weights of a layer; Lee et al. 2021). So groups of
different width, depth and initialisation compare, the best unit of a group scores 1 unless all are zero, and of two
groups the one with more units is thinned first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worker.pruning.draws import generator
from worker.pruning.labels.labelling import Labelling
from worker.pruning.units.belongings import Flags, Reals, belongings
from worker.pruning.units.distances import distances
from worker.pruning.units.units import Units

Kind = Literal["l1", "l2", "taylor", "snip", "geometric_median", "random"]


def score(
    units: Units,
    lab: Labelling,
    kind: Kind,
    seed: int = 0,
    alive: Tensor | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    gathered: Tensor | None = None,
) -> list[list[float]]:
    """For each group the scores of its units, to six significant digits: the numbers that a selection compares.

    Args:
        seed: Of `random`, which draws from it and the group's name alone, so that rounds are nested.
        alive: Which labels are still there, bool, (labels,); all, when left out. The others score 0.
        tensors: Parameters by their first name, in full size, zero where something is removed; when left out, those of
            `lab.program`.
        gathered: The magnitude of each label, (labels,), where it comes from data.
    """
    there: Flags = np.ones(units.count, dtype=bool) if alive is None else alive.cpu().numpy()
    if kind == "random":
        return [_rounded(_drawn(group.name, len(group.labels), seed) * there[group.labels]) for group in units.groups]
    known = dict(lab.program.named_parameters()) if tensors is None else tensors
    if gathered is not None:
        magnitudes = gathered.cpu().numpy() * there
    elif kind == "geometric_median":
        magnitudes = distances(units, lab, known, there)
    else:
        magnitudes = _means(units, lab, known, kind, there)
    magnitudes = np.where(np.isfinite(magnitudes), magnitudes, 0)  # weights may hold NaN
    return [_rounded(_shares(magnitudes[group.labels])) for group in units.groups]


def sum_owned(units: Units, lab: Labelling, tensors: Mapping[str, Tensor]) -> Reals:
    """Of each label, the sum of all entries that it owns of tensors shaped as the parameters, by their first names."""
    return _totals(units, lab, tensors, lambda entries: entries)


def _means(units: Units, lab: Labelling, tensors: Mapping[str, Tensor], kind: Kind, there: Flags) -> Reals:
    totals = _totals(units, lab, tensors, torch.square if kind == "l2" else torch.abs)
    numbers = np.zeros(units.count)
    for owned in belongings(lab.program, units.lines, tensors):
        for line, values in owned.numbers(there):
            numbers[line.labels] += np.bincount(line.places, values)
    return np.divide(totals, numbers, out=np.zeros(units.count), where=there & (numbers > 0))


def _totals(units: Units, lab: Labelling, tensors: Mapping[str, Tensor], power: Callable[[Tensor], Tensor]) -> Reals:
    totals = np.zeros(units.count)
    for owned in belongings(lab.program, units.lines, tensors):
        for line, values in owned.sums(power):
            totals[line.labels] += np.bincount(line.places, values)
    return totals


def _shares(magnitudes: Reals) -> Reals:
    """Over the sum of those that are not smaller; of equal ones, the first in the group goes first."""
    order = np.argsort(magnitudes, kind="stable")
    left = np.cumsum(magnitudes[order][::-1])[::-1]
    shares = np.zeros_like(magnitudes)
    np.divide(magnitudes[order], left, out=left, where=left > 0)
    shares[order] = left
    return shares


def _drawn(name: str, size: int, seed: int) -> Reals:
    drawn: Reals = torch.rand(size, generator=generator(seed, name), dtype=torch.float64).numpy()
    return drawn


def _rounded(scores: Reals) -> list[float]:
    """To six digits, so that the order is the same on every machine and as an inspection stored it."""
    return [float(f"{one:.6g}") for one in scores]
