"""What a process holds, from Linux's own books."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")
MIB = 1024


def resident_mib() -> int:
    """Memory of this process now, in MiB."""
    return _read("VmRSS")


def peak_mib() -> int:
    """The most since the process began, or since `forget_peak`, in MiB."""
    return _read("VmHWM")


def forget_peak() -> None:
    """Lets the peak begin at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def _read(field: str) -> int:
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == f"{field}:") // MIB
