"""How long the network takes, dense and pruned: the part of the report that is about time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from secateur.record import Record
from secateur.removal.latency import UnitTimes


class Latency(Record):
    """One batch size, dense and pruned timed alternately in one run."""

    batch: int
    dense_p50_ms: float
    dense_p95_ms: float
    pruned_p50_ms: float
    pruned_p95_ms: float
    speed_up: float = Field(description="Median of the paired ratios dense / pruned; 1.0 means no faster.")
    runs: int
    threads: int
    device: str


class PredictedLatency(UnitTimes):
    """What a search for the fastest network decided by: how long units take, and what that comes to.

    A prediction: `Report.latency` is measured.
    """

    pruned_ms: float = Field(description="Of a batch, as the network is handed over.")


class SemiStructured(Record):
    """The network on torch's kernels for 2:4 (`torch.sparse.to_sparse_semi_structured`), which skip what is zero.

    model.pt2 itself holds dense tensors: how weights are packed depends on the device, so that is done where it is
    loaded, to those named in `layers`.
    """

    autocast: Literal["bf16", "fp16"] | None = Field(
        description="What it was run in, with torch.autocast, as it was trained. null: in its own precision."
    )
    layers: tuple[str, ...] = Field(description="The weights that the kernels take, by the parameters' names.")
    left: dict[str, str] = Field(description="The other weights with blocks, and why they stay dense.")
    max_relative_error: float | None = Field(
        description="Largest difference of its floating-point outputs from those in float32, relative to the largest "
        "output. null: it is not finite, or the kernels take no weight."
    )
    tolerance: float | None = Field(
        description="Four times as much as dense kernels differ in the same precision, and that precision's rounding."
    )
    holds: bool | None = Field(
        description="Whether the difference is tolerable. Where it is not, nothing else was measured. null: the "
        "kernels take no weight."
    )
    metric: float | None = Field(description="What metric.recovered is, measured so. null: not finite, or not known.")
    latency: tuple[Latency, ...] = Field(
        description="Dense here is the uploaded network in the same precision, with the same weights cast beforehand."
    )
