"""Frees the batch axis of a program that was exported for one batch size, and checks that the network is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from secateur.errors import FixedBatch, ProgramFails
from worker.program.effects import keeps
from worker.program.following import NEW_TENSORS, RANGES, VIEWS_ONLY, follow_batch
from worker.program.program import BATCH, Program
from worker.program.reason import reason
from worker.program.remedies import EXPORT
from worker.program.writer import export


def free_batch(program: Program, batch: int) -> Program:
    """A program that takes any number of examples and agrees, row by row, with `program` on batches of `batch`.

    Views always follow the batch. That a range, or the first axis of a new or expanded tensor, is as long as the batch
    may be chance: first all of them follow, then all but ranges, then none. Raises ProgramFails where the program does
    not run as it is, and FixedBatch, whose remedy is the export with a Dim, where none of this agrees.
    """
    _check_runs(program, batch)
    reasons = []
    for level in (RANGES, NEW_TENSORS, VIEWS_ONLY):
        try:
            freed = _rewritten(program, batch, level)
            _check_agreement(program, freed, batch, (batch, 2 * batch + 1, 1 if batch > 1 else 3))
            export(freed)
        except Exception as error:
            reasons.append(reason(error, 200))
            continue
        freed.batch_kind = "made_dynamic"
        note = (
            f"The program was exported for batches of {batch}; the batch axis was made free and agrees on three sizes."
        )
        freed.notes = (*freed.notes, note)
        return freed
    raise FixedBatch(
        f"The program only works for batches of {batch}, and that could not be undone ({reasons[0]}).", remedy=EXPORT
    )


def _check_runs(program: Program, batch: int) -> None:
    try:
        with torch.no_grad():
            program.run(*program.example(batch))
    except Exception as error:
        raise ProgramFails(f"The program cannot be run on {batch} examples: {reason(error, 200)}.") from error


def _rewritten(program: Program, batch: int, level: int) -> Program:
    freed = program.copy()
    follow_batch(freed.module, batch, freed.example(batch), freed.example(batch + 1), level)
    freed.module.graph.eliminate_dead_code(is_impure_node=keeps)
    freed.module.recompile()
    return freed


def allow_single(program: Program) -> Program:
    """Lets a program take one example where its export asks for two, as `Dim.AUTO` and `Dim.DYNAMIC` always do.

    A program that gives something else for one example alone, or cannot be exported for it, stays as it is.
    """
    size = program.sizes[BATCH]
    if size.minimum != 2:
        return program
    single = replace(program, sizes={**program.sizes, BATCH: replace(size, minimum=1)})
    try:
        _check_agreement(program, single, batch=2, counts=(1,))
        export(single)
    except Exception:
        return program
    return single


def _check_agreement(program: Program, freed: Program, batch: int, counts: Sequence[int]) -> None:
    """Raises FixedBatch unless `freed` gives for each number of examples what `program` gives in chunks of `batch`."""
    for count in counts:
        whole = math.ceil(count / batch) * batch
        inputs = freed.example(whole, seed=count)
        with torch.no_grad():
            ours, theirs = freed.run(*(given[:count] for given in inputs)), _by_chunks(program, inputs, batch)
        for key, expected in theirs.items():
            if not _close(ours[key], expected[:count]):
                raise FixedBatch(f"output {key} differs at a batch of {count}")


def _by_chunks(program: Program, inputs: Sequence[Tensor], batch: int) -> dict[str, Tensor]:
    """What a program gives for inputs of a multiple of `batch` rows, run `batch` rows at a time."""
    chunks = torch.arange(len(inputs[0])).reshape(-1, batch)
    parts = [program.run(*(given[chunk] for given in inputs)) for chunk in chunks]
    for key, first in parts[0].items():
        if first.dim() == 0 or first.shape[0] != batch:
            raise FixedBatch(f"output {key} has no batch along axis 0")
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _close(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if not ours.is_floating_point():
        return torch.equal(ours, theirs)
    tolerance = 1e-4 if ours.dtype in (torch.float32, torch.float64) else 2e-2
    scale = float(theirs.abs().max()) if theirs.numel() else 0.0
    return torch.allclose(ours.double(), theirs.double(), rtol=tolerance, atol=tolerance * scale, equal_nan=True)
