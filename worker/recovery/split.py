"""Which examples of the training data are set aside for validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secateur.errors import EmptyDataset
from worker.recovery.data import Dataset
from worker.recovery.order import permutation

Indices = NDArray[np.int64]


def split(dataset: Dataset, share: float, seed: int, stratify: bool) -> tuple[Indices, Indices]:
    """Training and validation indices, each ascending: disjoint, together everything, decided by `seed` alone.

    About `share` of the examples, and at least one, goes to validation. With `stratify` each label is represented in
    proportion (largest remainders) and keeps at least one example in train; where that leaves nothing to validate on,
    as where every label is there once, the labels are not looked at. Targets of several axes are not stratified.

    Raises EmptyDataset when there are fewer than two examples.
    """
    if len(dataset) < 2:
        raise EmptyDataset("The training data has 1 example; at least 2 are needed to set one aside for validation.")
    order = permutation(len(dataset), seed)
    wanted = min(max(round(share * len(dataset)), 1), len(dataset) - 1)
    chosen = order[:0]
    if stratify and len(dataset.target_shape) == 1:
        chosen = _stratified(dataset.labels(), order, share, wanted)
    if len(chosen) == 0:
        chosen = order[:wanted]
    kept = np.ones(len(dataset), dtype=bool)
    kept[chosen] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def _stratified(labels: NDArray[np.int64], order: Indices, share: float, wanted: int) -> Indices:
    """Of each label its quota, taken in the order of `order`."""
    _, strata, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    quotas = _quotas(counts, share, wanted)
    grouped = np.argsort(strata, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    return order[grouped[rank < np.repeat(quotas, counts)]]


def _quotas(counts: Indices, share: float, wanted: int) -> Indices:
    """How many of each label: the whole part of its share, then the largest remainders until `wanted` are reached."""
    ideal = counts * share
    quotas = np.minimum(ideal.astype(np.int64), counts - 1)
    by_remainder = np.argsort(quotas - ideal, kind="stable")
    open_ones = by_remainder[quotas[by_remainder] < counts[by_remainder] - 1]
    quotas[open_ones[: max(wanted - int(quotas.sum()), 0)]] += 1
    return quotas
