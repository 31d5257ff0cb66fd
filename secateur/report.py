"""The report: what a job did to the network, measured. JSON is the truth; whatever is shown is drawn from it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from secateur.record import Record
from secateur.spec import JobSpec

ZEROS_NOTE = (
    "Zeros in a dense file save neither memory nor time: the tensors keep their shape, and kernels still multiply by "
    "them. They shrink the file only when it is compressed (gzip_bytes); a faster network needs whole channels, "
    "neurons or heads removed."
)


def finite(value: float) -> float | None:
    """The value, or None (null in JSON) where it is no finite number, as a broken network's error may be."""
    return value if math.isfinite(value) else None


class Metric(Record):
    """The task's metric at the four moments that matter."""

    name: Literal["accuracy", "rmse"]
    on: Literal["test", "validation"]
    higher_is_better: bool
    dense: float = Field(description="As uploaded.")
    one_shot: float | None = Field(
        description="The final amount removed at once, without training: what retraining is worth. null: not finite."
    )
    pruned: float | None = Field(
        description="After the last pruning step, before the training that follows. null: not finite."
    )
    recovered: float = Field(description="At the end: this is the network that is handed over.")
    examples: int = Field(description="How many scored labels the metric rests on.")
    standard_error: float = Field(description="Of `recovered`, from the number of examples.")


class Round(Record):
    """One prune and the fine-tuning after it, measured on the validation data."""

    round: int
    sparsity: float
    pruned: float | None
    recovered: float | None
    epochs: int
    best_epoch: int = Field(description="The epoch whose weights were kept; 0: those from before the training.")


class LayerSparsity(Record):
    """Zeros of one layer."""

    name: str
    shape: tuple[int, ...]
    zeros: int
    total: int


class Sparsity(Record):
    """Zeros of the layers that the spec chose."""

    overall: float
    zeros: int
    total: int
    layers: tuple[LayerSparsity, ...]


class Size(Record):
    """What the network weighs."""

    parameters: int
    nonzero: int
    dense_bytes: int = Field(description="Bytes of all parameters and buffers.")
    artifacts: dict[str, int] = Field(description="Bytes of each file handed over.")
    gzip_bytes: dict[str, int] = Field(description="The tensors of the dense and of the pruned network under gzip -6.")
    note: str = ZEROS_NOTE


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


class Provenance(Record):
    """Everything that is needed to do it again."""

    spec: JobSpec
    model_sha256: str
    data_sha256: dict[str, str]
    seed: int
    versions: dict[str, str]
    hardware: dict[str, str | int]
    attempts: int


class Report(Record):
    """What a job did to the network."""

    schema_version: Literal[1] = 1
    metric: Metric
    rounds: tuple[Round, ...]
    sparsity: Sparsity
    size: Size
    latency: tuple[Latency, ...]
    timing: dict[str, float] = Field(description="Seconds a stage, over all attempts that counted.")
    notes: tuple[str, ...] = Field(
        default=(), description="What a reader should know: a no-op, a fallback, an assumption."
    )
    provenance: Provenance
