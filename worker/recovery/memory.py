"""Running out of memory, whichever way torch says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from secateur.errors import OutOfMemory

CPU_ALLOCATOR = "DefaultCPUAllocator"


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns a failed allocation inside into OutOfMemory; every other error passes."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory from error
    except RuntimeError as error:
        if CPU_ALLOCATOR in str(error):
            raise OutOfMemory from error
        raise
