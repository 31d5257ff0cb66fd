"""Frees the batch axis of a program that was exported for one batch size, and checks that the network is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.errors import FixedBatch, SecateurError
from worker.program.effects import keeps
from worker.program.following import NEW_TENSORS, RANGES, VIEWS_ONLY, follow_batch
from worker.program.program import Program
from worker.program.remedies import EXPORT
from worker.program.writer import export


def free_batch(program: Program, batch: int) -> Program:
    """A program that takes any number of examples and agrees, row by row, with `program` on batches of `batch`.

    Views always follow the batch. That a range, or the first axis of a new or expanded tensor, is as long as the batch
    may be chance: first all of them follow, then all but ranges, then none. Raises FixedBatch, whose remedy is the
    export with a Dim, where none of this agrees.
    """
    reasons = []
    for level in (RANGES, NEW_TENSORS, VIEWS_ONLY):
        try:
            freed = _rewritten(program, batch, level)
            _check_agreement(program, freed, batch)
            export(freed)
        except (RuntimeError, ValueError, IndexError, TypeError, SecateurError) as error:
            reasons.append(str(error).splitlines()[0][:200] if str(error) else type(error).__name__)
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


def _rewritten(program: Program, batch: int, level: int) -> Program:
    freed = program.copy()
    follow_batch(freed.module, batch, freed.example(batch), freed.example(batch + 1), level)
    freed.module.graph.eliminate_dead_code(is_impure_node=keeps)
    freed.module.recompile()
    return freed


def _check_agreement(program: Program, freed: Program, batch: int) -> None:
    """Raises FixedBatch unless outputs agree at `batch`, at another size, and at the smallest or thrice the size."""
    for count in (batch, 2 * batch + 1, 1 if batch > 1 else 3):
        inputs = freed.example(count, seed=count)
        with torch.no_grad():
            ours, theirs = freed.run(*inputs), _by_chunks(program, inputs, batch, count)
        for key, expected in theirs.items():
            if not _close(ours[key], expected):
                raise FixedBatch(f"output {key} differs at a batch of {count}")


def _by_chunks(program: Program, inputs: Sequence[Tensor], batch: int, count: int) -> dict[str, Tensor]:
    """What the original gives for `count` rows, run `batch` rows at a time; the last chunk is filled up with row 0."""
    rows = torch.arange(math.ceil(count / batch) * batch).reshape(-1, batch)
    rows[rows >= count] = 0
    parts = [program.run(*(given[chunk] for given in inputs)) for chunk in rows]
    joined = {}
    for key, first in parts[0].items():
        if first.dim() == 0 or first.shape[0] != batch:
            raise FixedBatch(f"output {key} has no batch along axis 0")
        joined[key] = torch.cat([part[key] for part in parts])[:count]
    return joined


def _close(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if not ours.is_floating_point():
        return torch.equal(ours, theirs)
    tolerance = 1e-4 if ours.dtype in (torch.float32, torch.float64) else 2e-2
    scale = float(theirs.abs().max()) if theirs.numel() else 0.0
    return torch.allclose(ours.double(), theirs.double(), rtol=tolerance, atol=tolerance * scale, equal_nan=True)
