"""One model's trial: exported, read, given other numbers, halved, written, loaded by stock torch, run, and proved."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.zoo.memory import forget_peak, peak_mib, resident_mib
from benchmarks.zoo.redraw import redraw
from benchmarks.zoo.row import EXPORT_REFUSES, FAILS, PASSES, Finding, Row
from benchmarks.zoo.subject import BATCH, Build, Subject
from secateur.removal import count_macs, count_parameters, kept_per_part
from secateur.units import ModelUnits
from worker.program.program import Program
from worker.program.reader import read
from worker.program.writer import write
from worker.pruning.cut import Cut
from worker.pruning.labels.labelling import Labelling, label
from worker.pruning.proof import prove
from worker.pruning.surgery.operate import operate
from worker.pruning.units.describe import describe
from worker.pruning.units.units import Units, find_units, removed_labels

SEED = 0
EFFECT_MIN = 1e-3
SPREAD_MIN = 1e-6
LOADED_BATCHES = (5, 3)
"""The last is that which our own MACs are counted for: what does not depend on the batch is shared out over it."""

Note = Callable[[Row], None]


def attempt(row: Row, build: Build, folder: Path, note: Note) -> None:
    """Fills `row`, which `note` is told of at the beginning of every stage and at the end."""
    row.verdict, row.cause = FAILS, "the process died"
    try:
        _attempt(row, build, folder, note)
        row.verdict, row.cause, row.stage = PASSES, "", ""
    except Exception as error:
        row.verdict = EXPORT_REFUSES if row.stage == "export" else FAILS
        row.cause = f"{type(error).__name__}: {_first_line(str(error))}"
    note(row)


def _attempt(row: Row, build: Build, folder: Path, note: Note) -> None:
    torch.manual_seed(SEED)
    uploaded, pruned = folder / "uploaded.pt2", folder / "pruned.pt2"
    with row.timed("build", note):
        subject = build()
    with row.timed("export", note):
        torch.export.save(export(subject), uploaded)
    del subject
    with row.timed("read", note):
        program = read(uploaded)
    uploaded.unlink()
    with row.timed("redraw", note):
        redraw(program, SEED)
    lab, units = _labelled(row, program, note)
    with row.timed("describe", note):
        known = describe(units, lab)
    removed = half(known, SEED)
    _count(row, known, removed)
    with row.timed("surgery", note):
        cut = Cut(lab, removed_labels(units, removed))
        sliced = operate(lab, cut)
    with row.timed("write", note):
        write(sliced, pruned)
    with row.timed("reload", note):
        row.counted = check_loaded(pruned, program, row.parameters[1])
    pruned.unlink()
    with row.timed("proof", note):
        _prove(row, program, lab, cut, sliced)


def export(subject: Subject) -> ExportedProgram:
    """By stock torch; its named sizes first, then hints where it does not understand its own guards on these."""
    try:
        return torch.export.export(subject.module, subject.inputs, dynamic_shapes=subject.vary)
    except torch._dynamo.exc.UserError as error:
        if "Constraints violated" not in str(error):
            raise
    hints = tuple({0: Dim.DYNAMIC(min=BATCH.min, max=BATCH.max)} for _ in subject.vary)
    return torch.export.export(subject.module, subject.inputs, dynamic_shapes=hints)


def half(units: ModelUnits, seed: int) -> dict[str, set[int]]:
    """Half of the units of each group, drawn at random; one stays of each group, and of each set of parts that must."""
    generator = random.Random(seed)
    removed = {group.name: set(generator.sample(range(group.size), group.size // 2)) for group in units.groups}
    for parts in units.occupied:
        kept = kept_per_part(units, removed)
        if not any(kept[part] for part in parts):
            name, member = generator.choice(sorted(_members(units, parts)))
            removed[name].discard(member)
    return removed


def _members(units: ModelUnits, parts: Sequence[int]) -> list[tuple[str, int]]:
    """All units of these parts."""
    return [
        (group.name, member)
        for group in units.groups
        for member in range(group.size)
        if (group.part[0] if len(group.part) == 1 else group.part[member]) in parts
    ]


def _labelled(row: Row, program: Program, note: Note) -> tuple[Labelling, Units]:
    forget_peak()
    before = resident_mib()
    with row.timed("label", note):
        lab = label(program)
    with row.timed("units", note):
        units = find_units(lab)
    row.labels_mib = peak_mib() - before
    row.units = sum(len(group.labels) for group in units.groups)
    row.frozen = dict(Counter(found.why for found in lab.frozen))
    if row.units < row.expected:
        raise Finding(f"{row.units} units were found; {row.expected} are expected")
    return lab, units


def _count(row: Row, known: ModelUnits, removed: Mapping[str, set[int]]) -> None:
    before, after = kept_per_part(known), kept_per_part(known, removed)
    row.share = round(known.prunable_share, 4)
    row.parameters = (count_parameters(known, before), count_parameters(known, after))
    row.macs = (count_macs(known, before), count_macs(known, after))
    if not known.groups:
        raise Finding("nothing can be pruned")


def check_loaded(path: Path, dense: Program, forecast: int) -> tuple[int, int]:
    """Raises a Finding unless stock torch loads the file, runs it at two batch sizes and goes back through it.

    Gives the multiply-accumulates of an example, of the dense and of the loaded network, as torch itself counts them.
    """
    module = torch.export.load(path).module()
    tensors = {tensor.data_ptr(): tensor for tensor in module.parameters()}  # tied ones are several objects
    found = sum(tensor.numel() for tensor in tensors.values())
    if found != forecast:
        raise Finding(f"{found} parameters are left; the forecast was {forecast}")
    for count in LOADED_BATCHES:
        given = dense.example(count, seed=SEED + count)
        with FlopCounterMode(display=False) as small, sdpa_kernel(SDPBackend.MATH):
            outputs = _leaves(module(*given))
        with FlopCounterMode(display=False) as large, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            expected = list(dense.run(*given).values())
        check_outputs(outputs, expected)
    torch.stack([output.square().mean() for output in outputs if output.requires_grad]).sum().backward()
    gradients = [tensor.grad for tensor in tensors.values() if tensor.grad is not None]
    if not gradients or not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise Finding(f"{len(gradients)} parameters have gradients, not all of them finite")
    counted = (counter.get_total_flops() // (2 * count) for counter in (large, small))
    return next(counted), next(counted)


def check_outputs(outputs: Sequence[Tensor], dense: Sequence[Tensor]) -> None:
    """Raises a Finding for outputs of other shapes than the dense ones, not finite, or the same for all examples."""
    if [output.shape for output in outputs] != [output.shape for output in dense]:
        raise Finding(f"the outputs have the shapes {[tuple(output.shape) for output in outputs]}")
    for output in (output.detach() for output in outputs):
        if not bool(output.isfinite().all()):
            raise Finding("an output is not finite")
        if output.is_floating_point() and not float(output.std(0).max()) > SPREAD_MIN * float(output.abs().max()):
            raise Finding("an output is constant")


def _prove(row: Row, program: Program, lab: Labelling, cut: Cut, sliced: Program) -> None:
    proof = prove(program, lab, cut, sliced)
    row.error, row.tolerance, row.effect = proof.max_relative_error, proof.tolerance, proof.effect
    row.restricted = len(proof.nodes_restricted)
    if not proof.holds:
        raise Finding(f"the proof does not hold: {row.error:.1e} > {row.tolerance:.0e}")
    if not row.effect > EFFECT_MIN:
        raise Finding(f"the outputs are the dense ones: the effect is {row.effect:.1e}")


def _leaves(value: object) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]
