"""What a job leaves behind in its process, which ends with it, must not reach the next test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _any_algorithm() -> Iterator[None]:
    """A job asks torch for deterministic algorithms, which not every operator has."""
    yield
    torch.use_deterministic_algorithms(False)
