"""Proof that a smaller program computes what the uploaded one does with the removed units silent.

What is compared: the sliced program on the one side; on the other the full-size graph, run node by node with the
entries of removed units set to zero (worker.pruning.reference). The two share neither literals nor tensors: the one
reads sizes that surgery wrote, the other those of the upload. The graph that was labelled, which has gathers where the
upload has shuffles, is compared with the upload as well.

What it does not prove: that the labels are as fine as they could be (both sides know the same units, and a unit that
was frozen or merged for nothing is missed by both); that statistics over survivors are what is meant, where an operator
takes a mean over units (those nodes are listed); that outputs agree on other inputs than those drawn, at other sizes
than two batches; and that the pruned network is any good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.report import Proof
from worker.program.program import BATCH, Program
from worker.pruning.cut import Cut
from worker.pruning.footprint import fits
from worker.pruning.labels.labelling import Labelling
from worker.pruning.precision import converted, default_precision, in_precision, let_go
from worker.pruning.reference import Reference

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Of the largest difference, relative to the largest output."""
SEED = 0

Outputs = dict[str, Tensor]
Draw = Callable[[int], tuple[Tensor, ...]]
"""Gives the inputs for so many examples, in the order of the program."""


@dataclass(frozen=True)
class Evidence:
    """What the programs gave on the same inputs, for each batch size that was tried."""

    dense: tuple[Outputs, ...]
    labelled: tuple[Outputs, ...]
    """Of the program with gathers, before anything is removed."""
    reference: tuple[Outputs, ...]
    sliced: tuple[Outputs, ...]
    plain: frozenset[str]
    """Nodes whose removed entries were set to zero and nothing else."""
    restricted: tuple[str, ...]
    """Nodes whose statistics were taken over survivors, in order."""


def prove(
    program: Program,
    lab: Labelling,
    cut: Cut,
    sliced: Program,
    *,
    tolerance: float | None = None,
    dtype: torch.dtype | None = None,
    inputs: Draw | None = None,
) -> Proof:
    """Compares `sliced` with `program`, the upload that `lab` labelled, where the units of `cut` are silent.

    Computes in `dtype`: if None in float64 where the memory that is free suffices, else in float32; the tolerance is
    1e-9 or 1e-5 unless another is given. Outputs that are no numbers, infinite all over, or of another shape or dtype
    do not hold, nor do integers or infinities that differ at all. Works on the CPU, with inputs of the program's own,
    or those that `inputs` gives (some programs take nothing but their users' data: they begin with a logarithm, say).
    The programs stay as they are.
    """
    dtype = dtype or (torch.float64 if fits(lab, torch.float64) else torch.float32)
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    evidence = gather_evidence(program, lab, cut, sliced, dtype, inputs)
    errors = [difference(*pair) for pair in zip(evidence.sliced, evidence.reference, strict=True)]
    errors += [difference(*pair) for pair in zip(evidence.labelled, evidence.dense, strict=True)]
    error = max(errors)
    return Proof(
        holds=error <= tolerance,
        max_relative_error=error,
        tolerance=tolerance,
        effect=_effect(evidence),
        nodes_plain=len(evidence.plain),
        nodes_restricted=evidence.restricted,
    )


def _effect(evidence: Evidence) -> float:
    """How far the pruned outputs are from the dense ones; 1 where they differ by what has no measure (integers)."""
    pairs = zip(evidence.reference, evidence.dense, strict=True)
    moved = [difference({name: ours[name]}, {name: theirs[name]}) for ours, theirs in pairs for name in theirs]
    return max((one if math.isfinite(one) else 1.0 for one in moved), default=0.0)


def gather_evidence(
    program: Program, lab: Labelling, cut: Cut, sliced: Program, dtype: torch.dtype, inputs: Draw | None = None
) -> Evidence:
    """Runs all four on the same inputs, one after the other, so that one copy is in memory at a time."""
    draw = inputs or (lambda count: program.example(count, seed=SEED + count))
    batches = [_converted(draw(count), dtype) for count in batch_sizes(program)]
    with torch.no_grad(), default_precision(dtype):
        dense, labelled, small = (_outputs(one, batches, dtype) for one in (program, lab.program, sliced))
        whole = in_precision(lab.program, dtype)
        reference = Reference(whole, cut)
        silent = tuple(reference.outputs(*batch) for batch in batches)
        let_go(whole)
    return Evidence(dense, labelled, silent, small, frozenset(reference.plain), tuple(reference.restricted))


def batch_sizes(program: Program) -> tuple[int, ...]:
    """Two sizes that the program takes, both small; one where it takes no other."""
    size = program.sizes[BATCH]
    low = max(size.minimum, 2) if size.maximum is None else min(max(size.minimum, 2), size.maximum)
    others = (low + 1, low - 1)
    allowed = (one for one in others if one >= size.minimum and (size.maximum is None or one <= size.maximum))
    return (low, *list(allowed)[:1])


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference of any output, relative to the largest entry of that output in `theirs`.

    Infinite where outputs are missing, no numbers, or of another shape or dtype; integers and infinities (of masked
    logits) differ or do not.
    """
    if ours.keys() != theirs.keys():
        return math.inf
    return max((_difference(ours[name], theirs[name]) for name in theirs), default=0.0)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return math.inf
    if not (ours.is_floating_point() or ours.is_complex()):
        return 0.0 if torch.equal(ours, theirs) else math.inf
    finite = theirs.isfinite()
    agree = torch.equal(ours[~finite], theirs[~finite])  # a NaN equals nothing
    if not agree or (theirs.numel() and not bool(finite.any())):
        return math.inf
    ours, theirs = ours[finite], theirs[finite]
    if not bool(ours.isfinite().all()):
        return math.inf
    error, scale = (float(value.abs().max()) if value.numel() else 0.0 for value in (ours - theirs, theirs))
    return error / scale if scale else (0.0 if not error else math.inf)


def _converted(given: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(tensor.to("cpu", converted(tensor.dtype, dtype)) for tensor in given)


def _outputs(program: Program, batches: Sequence[tuple[Tensor, ...]], dtype: torch.dtype) -> tuple[Outputs, ...]:
    ours = in_precision(program, dtype)
    found = tuple(ours.run(*batch) for batch in batches)
    let_go(ours)
    return found
