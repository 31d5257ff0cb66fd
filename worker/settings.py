"""What can be set about a worker, by SECATEUR_* variables."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from store.settings import StoreSettings


def machine_bytes() -> int:
    """Memory of this machine, or of the container that the process lives in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cap = Path("/sys/fs/cgroup/memory.max")
    limit = cap.read_text().strip() if cap.is_file() else "max"
    return total if limit == "max" else min(total, int(limit))


class Settings(StoreSettings):
    """Settings of a worker process."""

    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda:\d{1,3})$", description="The one device that this worker serves."
    )
    threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, le=1024)
    job_memory_bytes: int = Field(
        default_factory=lambda: 2 * machine_bytes(),
        ge=1 << 30,
        description="Address space of a child on the CPU; mapped files count, so it is more than the memory there is.",
    )
    job_file_bytes: int = Field(default=64 << 30, ge=1 << 20, description="The largest file that a child may write.")
    inspection_timeout_s: float = Field(default=600, gt=0)
    checkpoint_every_s: float = Field(default=300, gt=0, description="Also after every round.")
