"""How much goes through a program at once: as much as was asked for, or as the memory is enough for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch

from secateur.errors import OutOfMemory

Note = Callable[[str], object]
"""Hears a sentence that a reader of the report should know."""
T = TypeVar("T")


def silent(_: str) -> None:
    """For whoever does not want to hear a note."""


class Portion:
    """The most examples that go through a program at once; half of them, rounded up, each time the memory is short."""

    def __init__(self, size: int, when_halved: Callable[[int, int], str], note: Note = silent) -> None:
        """`when_halved` makes the note of the sizes before and after."""
        self.size = size
        self._when_halved, self._note = when_halved, note

    def parts(self, length: int) -> list[slice]:
        """So many examples in as few parts as may be, as equal as may be."""
        count = -(-length // self.size)
        bounds = [-(-length * part // count) for part in range(count + 1)]
        return [slice(start, stop) for start, stop in pairwise(bounds)]

    def fitting(self, work: Callable[[], T]) -> T:
        """What `work` returns, done again from its start with half the size for as long as the memory is not enough.

        Raises OutOfMemory when it is not enough for a single example.
        """
        while True:
            try:
                return work()
            except OutOfMemory:
                if self.size == 1:
                    raise
            self._halve()  # outside of the handler: until its end the error holds on to what did not fit

    def _halve(self) -> None:
        before, self.size = self.size, -(-self.size // 2)  # three become two: batch norm can do nothing with one
        self._note(self._when_halved(before, self.size))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
