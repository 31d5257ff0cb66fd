"""Running a program on a batch of somebody's data, which may hold what the program cannot take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from secateur.errors import DataMismatch, JobFailed
from worker.program.reason import reason
from worker.recovery.memory import memory_errors

NAMED_INPUTS = 8


def run(program: Callable[..., Any], inputs: Sequence[torch.Tensor], device: torch.device) -> Any:
    """What `program` returns for `inputs`, moved to `device`.

    Raises OutOfMemory, and DataMismatch for whatever else torch finds wrong with the inputs: an index beyond an
    embedding, a size that the export does not allow. CUDA tells of a bad index later and in another way.
    """
    try:
        with memory_errors():
            return program(*(tensor.to(device) for tensor in inputs))
    except (RuntimeError, IndexError, ValueError, AssertionError) as error:
        found = ", ".join(str(tuple(tensor.shape)) for tensor in inputs[:NAMED_INPUTS])
        raise DataMismatch(
            f"The program cannot be run on inputs of {found}: {reason(error)}",
            remedy="Check that indices are within the program's tables and that its export allows these sizes.",
        ) from error


@contextmanager
def gradient_errors() -> Iterator[None]:
    """Raises OutOfMemory, and JobFailed where the program overwrites what the gradients taken inside need."""
    try:
        with memory_errors():
            yield
    except RuntimeError as error:
        raise JobFailed(
            f"The gradients of the program cannot be computed: {reason(error)}",
            remedy="Export the program without operators that work in place.",
        ) from error
