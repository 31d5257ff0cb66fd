"""Looking into one upload; runs in a child."""

from __future__ import annotations

from pathlib import Path

from worker.order import Inspected, InspectionOrder
from worker.program.inspection import inspect as inspect_program
from worker.program.reader import read
from worker.recovery import data


def look(order: InspectionOrder) -> Inspected:
    """What is in the upload.

    Raises:
        BadUpload: it cannot be used; the error says why.
    """
    if order.noun == "model":
        return Inspected(inspection=inspect_program(read(Path(order.path))))
    path = Path(order.path)
    if not data.is_npz(path):
        return Inspected(inspection=data.inspect(path))
    converted = Path(order.folder) / "data.safetensors"
    data.convert_npz(path, converted)
    return Inspected(inspection=data.inspect(converted, "npz"), converted=converted.name)
