"""Where cells are worked off: each lane does one at a time, on one thread, with a service of its own for ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

import torch

from benchmarks.accuracy import masked, recipes, service, smaller
from benchmarks.accuracy.cell import OURS, Cell, Finding, Outcome
from benchmarks.accuracy.recipe import EPOCHS
from benchmarks.accuracy.subject import Subject
from benchmarks.worth import peer, training
from benchmarks.worth.outcome import kept
from secateur.client import Client
from secateur.stack import Stack

METHODS: dict[str, Callable[[Cell], Finding]] = {
    "torch one-shot": masked.zeroed,
    "torch iterative": masked.zeroed,
    "Torch-Pruning group norm": partial(smaller.cut, method=peer.GROUP_NORM),
    "Torch-Pruning Taylor": partial(smaller.cut, method=peer.GROUP_TAYLOR),
}
"""All but ours."""


@dataclass(frozen=True)
class Lane:
    """`url` is that of its service."""

    pool: ProcessPoolExecutor
    url: str

    def outcome(self, cell: Cell) -> Outcome | str:
        """What is kept, or what comes out now; a sentence where nothing did, which is not kept."""
        return self.pool.submit(_outcome, cell, self.url).result()


def outcomes(
    lanes: Sequence[Lane], cells: Sequence[Cell], tell: Callable[[Cell, Outcome | str], None]
) -> list[Outcome | str]:
    """Of every cell, in their order; `tell` is called as they come."""
    free: SimpleQueue[Lane] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def done(cell: Cell) -> Outcome | str:
        lane = free.get()
        try:
            outcome = lane.outcome(cell)
        finally:
            free.put(lane)
        tell(cell, outcome)
        return outcome

    with ThreadPoolExecutor(len(lanes)) as threads:
        return list(threads.map(done, cells))


@contextmanager
def opened(count: int, folder: Path) -> Iterator[list[Lane]]:
    """So many lanes, with their data in `folder`."""
    with ExitStack() as inside:
        yield [_opened(inside, folder / str(number)) for number in range(count)]


def _opened(inside: ExitStack, folder: Path) -> Lane:
    stack = inside.enter_context(Stack(data_dir=folder, device="cpu"))
    return Lane(inside.enter_context(ProcessPoolExecutor(1, get_context("spawn"))), stack.url)


def _outcome(cell: Cell, url: str) -> Outcome | str:
    torch.set_num_threads(1)
    path = Subject(cell).path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return kept(path, partial(_timed, cell, url), Outcome)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _timed(cell: Cell, url: str) -> Outcome:
    began_s = time.perf_counter()
    with Client(url) as client:
        found = service.compress(client, cell) if cell.method == OURS else METHODS[cell.method](cell)
    wall_s = time.perf_counter() - began_s
    allowed = EPOCHS * training.course(Subject(cell).part("train"), recipes.DENSE[cell.network], cell.seed).steps()
    if found.steps > allowed:
        raise ValueError(f"{found.steps} steps were taken; every method has {allowed}")
    return Outcome(**found.model_dump(), wall_s=wall_s)
