"""On what a job ran: the machine's kind, never its name."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

LIBRARIES = ("secateur", "torch", "numpy", "safetensors")


def hardware(device: torch.device) -> dict[str, str | int]:
    """Processor, cores that this process may use, memory, and the device that did the work."""
    found: dict[str, str | int] = {
        "cpu": _cpu_model(),
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


def _cpu_model() -> str:
    """The model as Linux names it; elsewhere, or on a processor that has no such line, what Python knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
