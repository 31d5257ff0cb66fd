"""Reads an uploaded `.pt2` without running anything of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secateur.errors import (
    BadModel,
    CorruptArchive,
    NotAProgram,
    PickledModule,
    SecateurError,
    TorchScript,
    UnsupportedSchema,
)
from worker.program.archive import Archive, open_zip
from worker.program.batch import allow_single, free_batch
from worker.program.effects import confine
from worker.program.gradients import densify
from worker.program.graph import build_graph
from worker.program.kernels import guard
from worker.program.program import Program, assemble
from worker.program.remedies import EXPORT, WEIGHTS
from worker.program.reparametrised import fold_masks
from worker.program.schema import ExportedProgram, parse_program
from worker.program.signature import read_signature
from worker.program.tensors import State, read_state
from worker.program.training import calm

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
GZIP = b"\x1f\x8b"
TAR, TAR_OFFSET = b"ustar", 257


def read(path: Path) -> Program:
    """The program in a file written by `torch.export.save`, on the CPU, in evaluation mode.

    Raises a BadModel, whose `remedy` holds the lines that export right where that helps. A file with one fixed batch
    size is run a few times, in order to make the size free; nothing else runs.
    """
    path = Path(path)
    try:
        recognise(path)
        with Archive(path) as archive:
            exported = parse_program(archive.text("models/model.json"))
            state = read_state(archive)
        return _program(exported, state)
    except SecateurError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise CorruptArchive(f"The program cannot be read: {type(error).__name__}.") from error


def recognise(path: Path) -> None:
    """Raises the error that tells what a file is, unless it looks like a `.pt2`."""
    with path.open("rb") as file:
        head = file.read(TAR_OFFSET + len(TAR))
    if head.startswith(PICKLE) or (head[TAR_OFFSET:] == TAR and not head.startswith(ZIP)):
        raise PickledModule(remedy=WEIGHTS)
    if head.startswith(GZIP):
        raise NotAProgram("The file is compressed with gzip. Upload what torch.export.save wrote.", remedy=EXPORT)
    if not head.startswith(ZIP):
        raise NotAProgram("The file is not a zip, so it was not written by torch.export.save.", remedy=EXPORT)
    with open_zip(path) as zipped:
        names = [name.partition("/")[2] for name in zipped.namelist()]
    other = _other(names)
    if other is not None:
        raise other


def _other(names: Sequence[str]) -> BadModel | None:
    """What else a zip with these members may be."""
    if any(name == "constants.pkl" or name.startswith("code/") for name in names):
        return TorchScript(remedy=EXPORT)
    if "serialized_exported_program.json" in names:
        return UnsupportedSchema("The program was written by PyTorch 2.7 or older. Export it again.", remedy=EXPORT)
    if "models/model.json" in names:
        return None
    if "data.pkl" in names:
        return PickledModule(remedy=WEIGHTS)
    return NotAProgram("The zip holds no models/model.json: torch.export.save did not write it.", remedy=EXPORT)


def _program(exported: ExportedProgram, state: State) -> Program:
    signature = read_signature(exported)
    graph = build_graph(exported, signature, state)
    confine(graph, state.tensors)
    tensors, masks = fold_masks(graph, state.tensors)
    guard(graph, tensors)
    module = assemble(graph, tensors, state.transient)
    notes = [*signature.notes, *calm(module), *densify(module)]
    if masks:
        notes.append(f"torch.nn.utils.prune was attached to {len(masks)} parameters; pruning goes on from their masks.")
    program = Program(
        module, signature.inputs, signature.sizes, masks=masks, notes=tuple(notes), written_by=exported.torch_version
    )
    return allow_single(program) if signature.fixed_batch is None else free_batch(program, signature.fixed_batch)
