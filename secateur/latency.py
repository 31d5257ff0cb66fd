"""How long the network takes, dense and pruned: the part of the report that is about time."""

from __future__ import annotations

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
