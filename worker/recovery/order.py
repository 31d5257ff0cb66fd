"""Seeded orders: the same on every platform and for every version of numpy, and a function of their key alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32


def permutation(length: int, *key: int) -> NDArray[np.int64]:
    """0 to length - 1 in an order that depends on `key` alone.

    The raw stream of Philox is ranked (Salmon et al. 2011): numpy guarantees that stream, but not that of `shuffle`.
    """
    draws = np.random.Philox(_sequence(key)).random_raw(length)
    return np.argsort(draws, kind="stable").astype(np.int64, copy=False)


def uniform(length: int, *key: int) -> NDArray[np.float64]:
    """So many numbers in [0, 1) that depend on `key` alone: the upper 53 bits of Philox' raw stream."""
    draws = np.random.Philox(_sequence(key)).random_raw(length) >> np.uint64(11)
    return draws.astype(np.float64) * 2.0**-53


def seed_of(*key: int) -> int:
    """A seed of 64 bits for torch that depends on `key` alone; neighbouring keys give unrelated seeds."""
    return int(_sequence(key).generate_state(1, np.uint64)[0])


def _sequence(key: tuple[int, ...]) -> np.random.SeedSequence:
    """Every number of the key gets two words and the length leads: numpy alone takes (5,) and (5, 0) for the same."""
    words = [word for number in key for word in (number % 2**WORD_BITS, number >> WORD_BITS)]
    return np.random.SeedSequence([len(key), *words])
