"""On what a job ran: the machine's kind, never its name."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch

from worker.machine import processor

LIBRARIES = ("secateur", "torch", "numpy", "safetensors")


def hardware(device: torch.device) -> dict[str, str | int]:
    """Processor, cores that this process may use, memory, and the device that did the work."""
    found: dict[str, str | int] = {
        "cpu": processor(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory}
    return found


def versions() -> dict[str, str]:
    """Versions of Python, the system and the libraries that decide a result."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    return found | {name: version for name in LIBRARIES if (version := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
