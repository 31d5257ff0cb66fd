"""Running out of memory, whichever way torch says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from secateur.errors import OutOfMemory

ALLOCATORS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""What those who have no error of their own for it say."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns a failed allocation inside into OutOfMemory; every other error passes."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory from error
    except RuntimeError as error:
        if any(allocator in str(error) for allocator in ALLOCATORS):
            raise OutOfMemory from error
        raise
