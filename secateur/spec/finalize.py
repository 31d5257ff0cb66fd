"""What the job hands over, and what it measures about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secateur.record import Record


class Latency(Record):
    """Dense and pruned network timed alternately in one run."""

    batch_sizes: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(1, 32), min_length=1, max_length=8)
    runs: int = Field(default=30, ge=3, le=1000)


class Finalize(Record):
    """What the job hands over."""

    artifacts: tuple[Literal["pt2", "safetensors", "checkpoint", "figure"], ...] = Field(
        default=("pt2", "safetensors"),
        min_length=1,
        max_length=4,
        description="pt2: the program; safetensors: its state dict; "
        "checkpoint: `*_orig` and `*_mask` as torch.nn.utils.prune names them; figure: the report's curve, as a PNG.",
    )
    latency: Latency | None = Latency()
