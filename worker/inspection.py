"""Looking into one upload; runs in a child."""

from __future__ import annotations

from pathlib import Path

from worker.order import CONVERTED, Inspected, InspectionOrder
from worker.program.inspection import inspect as inspect_program
from worker.program.reader import read
from worker.recovery.inspection import inspect as inspect_data
from worker.recovery.npz import convert_npz, is_npz


def look(order: InspectionOrder) -> Inspected:
    """What is in the upload.

    Raises:
        BadUpload: it cannot be used; the error says why.
    """
    if order.noun == "model":
        return Inspected(inspection=inspect_program(read(Path(order.path))))
    path = Path(order.path)
    if not is_npz(path):
        return Inspected(inspection=inspect_data(path))
    converted = Path(order.folder) / CONVERTED
    convert_npz(path, converted, order.data_bytes)
    return Inspected(inspection=inspect_data(converted, "npz"), converted=converted.name)
