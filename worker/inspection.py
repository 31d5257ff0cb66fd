"""Looking into one upload; runs in a child."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secateur.errors import SecateurError, TooLarge
from secateur.inspection import ModelInspection
from secateur.units import ModelUnits
from worker.order import CONVERTED, Inspected, InspectionOrder
from worker.program.inspection import inspect as inspect_program
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.labels.labelling import label
from worker.pruning.units.describe import describe
from worker.pruning.units.units import find_units
from worker.recovery.inspection import inspect as inspect_data
from worker.recovery.npz import convert_npz, is_npz

UNITS_S = 120
"""Seconds that the search for units may take; the largest networks of torchvision and timm take less than five."""

UNITS_MAX = 1_000_000
"""What the door can rank within seconds and a few hundred megabytes; networks of 3e9 parameters have 250,000."""


def look(order: InspectionOrder) -> Inspected:
    """What is in the upload.

    Raises:
        BadUpload: it cannot be used; the error says why.
    """
    if order.noun == "model":
        return Inspected(inspection=inspect_model(read(Path(order.path))))
    path = Path(order.path)
    if not is_npz(path):
        return Inspected(inspection=inspect_data(path))
    converted = Path(order.folder) / CONVERTED
    convert_npz(path, converted, order.data_bytes)
    return Inspected(inspection=inspect_data(converted, "npz"), converted=converted.name)


def inspect_model(program: Program) -> ModelInspection:
    """Everything that a model's record says, units included.

    A program whose units cannot be told is a good upload all the same: its weights can be pruned. A note says why.
    Call it in the main thread, as signals are.
    """
    found = inspect_program(program)
    try:
        with _within(UNITS_S):
            units = _units(program)
    except Exception as error:
        if not isinstance(error, SecateurError):
            traceback.print_exc()
        return found.model_copy(update={"notes": (*found.notes, _note(error))})
    return found.model_copy(update={"units": units})


def _units(program: Program) -> ModelUnits:
    labelling = label(program)
    units = find_units(labelling)
    number = sum(len(group.labels) for group in units.groups)
    if number > UNITS_MAX:
        raise TooLarge(f"It has {number} units, and at most {UNITS_MAX} can be ranked.")
    return describe(units, labelling)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the midst of what takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _note(error: Exception) -> str:
    reason = str(error).partition("\n")[0][:300].encode(errors="backslashreplace").decode() or type(error).__name__
    return f"No channels, neurons or heads can be removed: the search for units stopped. {reason}"
