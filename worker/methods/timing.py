"""What the units of each group cost in time: the network is run beside itself without half of them."""

from __future__ import annotations

import random
from collections.abc import Collection
from statistics import median

import torch

from secateur.removal import choose_groups, count_macs, kept_per_part
from secateur.removal.latency import GroupTime, UnitTimes
from secateur.removal.queue import line_up
from secateur.spec.structured import PruneUnits
from secateur.units import ModelUnits
from worker.bench import Bench
from worker.methods.anatomy import Anatomy, Gone
from worker.program.program import Program
from worker.pruning.precision import let_go
from worker.recovery.memory import memory_errors
from worker.recovery.portion import Note
from worker.reports.latency import device_name, time_pairs

FEWEST, MOST = 5, 200
"""Pairs of runs for each group. Of 30, on a machine that is busy otherwise, some show no gain where there is one."""

SECONDS = 30
"""About as long as all runs together may take, where FEWEST of them do not take longer."""

GOLDEN = 0.6180339887498949


class Timing:
    """Times one program on the bench's device, at the first batch size whose latency the report will tell."""

    def __init__(self, anatomy: Anatomy, prune: PruneUnits, bench: Bench, note: Note) -> None:
        self._anatomy, self._prune, self._bench, self._note = anatomy, prune, bench, note
        self._draw = random.Random(bench.spec.seed)
        self._batch = timed_batch(bench)

    def of_units(self, closed: Collection[str]) -> UnitTimes:
        """All chosen groups of which any unit may go; `closed` names the nodes whose units stay.

        What is the same for both of a pair cancels out, and so does whatever slows the machine down meanwhile. A group
        without which the network is no faster costs nothing: noise makes none worth less.

        Raises NothingPrunable, NothingMatches, SurgeryFailed, OutOfMemory, and what asks for a pause.
        """
        known = self._anatomy.known
        halves = {at: half for at in choose_groups(known, self._prune) if (half := half_of(known, self._prune, at))}
        whole = self._cut({})
        dense_ms = self._pairs(whole, whole, FEWEST)[0]
        runs = affordable(median(dense_ms), len(halves))
        self._note(
            f"Before the first round the network was timed beside itself without half of each of {len(halves)} groups, "
            f"{runs} times each, at batch size {self._batch} on {device_name(self._bench.device)}. From these times "
            "latency is predicted, layer by layer in proportion to multiply-accumulates; what was measured in the end "
            "is told apart."
        )
        groups = tuple(self._timed(whole, at, half, runs, dense_ms) for at, half in halves.items())
        let_go(whole)
        if not any(group.ms for group in groups):
            self._note("No group costs time that could be measured here, so the search has nothing to take.")
        return UnitTimes(
            dense_ms=median(dense_ms),
            batch=self._batch,
            device=device_name(self._bench.device),
            threads=torch.get_num_threads(),
            runs=runs,
            groups=groups,
            left_alone=tuple(sorted(closed)),
        )

    def _timed(self, whole: Program, at: int, half: frozenset[int], runs: int, dense_ms: list[float]) -> GroupTime:
        known = self._anatomy.known
        gone = {known.groups[at].name: half}
        without = self._cut(gone)
        dense, pruned = self._pairs(whole, without, runs)
        let_go(without)
        dense_ms += dense
        return GroupTime(
            group=known.groups[at].name,
            units=len(half),
            macs=count_macs(known, kept_per_part(known)) - count_macs(known, kept_per_part(known, gone)),
            ms=max(0.0, median(a - b for a, b in zip(dense, pruned, strict=True))),
        )

    def _pairs(self, dense: Program, pruned: Program, runs: int) -> tuple[list[float], list[float]]:
        device, pause = self._bench.device, self._bench.pause_if_asked
        with memory_errors():
            inputs = tuple(tensor.to(device) for tensor in dense.example(self._batch))
            return time_pairs(dense, pruned, inputs, runs, device, self._draw, pause)

    def _cut(self, gone: Gone) -> Program:
        """Both of a pair come from the same surgeon, so that they differ in the units alone."""
        program = self._anatomy.operated(self._anatomy.cut(gone)).to(self._bench.device)
        program.set_training(False)
        return program


def timed_batch(bench: Bench) -> int:
    """How many examples go through the network at once while it is timed."""
    wanted, batch = bench.spec.finalize.latency, bench.inspection.batch
    sizes = (1,) if wanted is None else wanted.batch_sizes
    return next(filter(batch.allows, sizes), max(1, batch.minimum))


def affordable(run_ms: float, groups: int) -> int:
    """Pairs of runs for each of so many groups, when a run takes so long."""
    return max(FEWEST, min(MOST, int(1000 * SECONDS / max(1e-6, 2 * run_ms * groups))))


def half_of(units: ModelUnits, prune: PruneUnits, at: int) -> frozenset[int]:
    """Half of the units of a group, evenly spread, as far as they may go; in whole multiples where those are asked for.

    Empty where none may go.
    """
    spread = [[place * GOLDEN % 1 for place in range(group.size)] for group in units.groups]
    group, step = units.groups[at], prune.multiple_of
    half = max(1, group.size // 2)
    if group.kind != "head":
        half = half // step * step or half
    return frozenset(line_up(units, prune, [at], spread, {}).members[at][:half])
