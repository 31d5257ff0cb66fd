"""The report: what a job did to the network, measured. JSON is the truth; whatever is shown is drawn from it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from secateur.latency import Latency, PredictedLatency, SemiStructured
from secateur.n_m import BlockedLayers
from secateur.record import Record
from secateur.sensitivity import Sensitivity
from secateur.spec import JobSpec
from secateur.units import FrozenNode, UnitKind

MetricName = Literal["accuracy", "agreement", "rmse", "perplexity", "macro_f1", "mean_iou"]
SHARES = frozenset({"accuracy", "agreement", "macro_f1", "mean_iou"})
"""The metrics from 0 to 1, which people read in percent and compare in points."""

ZEROS_NOTE = (
    "Zeros in a dense file save neither memory nor time: the tensors keep their shape, and kernels still multiply by "
    "them. They shrink the file only when it is compressed (gzip_bytes); a faster network needs whole channels, "
    "neurons or heads removed."
)
REMOVED_NOTE = (
    "The removed units are gone from the tensors: the network is dense and smaller, and saves its memory and its "
    "arithmetic on any hardware. How much faster it is depends on the hardware: see latency."
)


def finite(value: float) -> float | None:
    """The value, or None (null in JSON) where it is no finite number, as a broken network's error may be."""
    return value if math.isfinite(value) else None


class Metric(Record):
    """The task's metric at the four moments that matter."""

    name: MetricName
    on: Literal["test", "validation"]
    higher_is_better: bool
    initial: float | None = Field(
        default=None, description="As uploaded, where the job trained the dense network itself. null: it did not."
    )
    dense: float = Field(description="As uploaded, or as the job trained it from there (lottery_ticket).")
    one_shot: float | None = Field(
        description="The final amount removed at once, without training: what retraining is worth. null: not finite, "
        "or not known (a search on a network that the job trained itself)."
    )
    pruned: float | None = Field(
        description="After the last pruning step, before the training that follows. null: not finite."
    )
    recovered: float = Field(description="At the end: this is the network that is handed over.")
    examples: int = Field(description="How many scored labels the metric rests on.")
    standard_error: float = Field(description="Of `recovered`, as other examples would make it differ.")


class Ticket(Record):
    """A lottery ticket beside the networks that it is compared with: as many weights, as many steps, same data.

    Measured where `metric` is; a comparison that nothing was chosen by.
    """

    ticket: float | None = Field(description="Survivors reset to their initial values, and trained.")
    random_reinit: float | None = Field(default=None, description="The same mask on values that were drawn anew.")
    random_mask: float | None = Field(default=None, description="As many weights of every layer, at random places.")


class Round(Record):
    """One prune and the fine-tuning after it, measured on the validation data."""

    round: int
    sparsity: float | None = Field(default=None, description="Weight jobs: the share of zeros in the chosen layers.")
    units_removed: float | None = Field(
        default=None, description="Structured jobs: the share of the chosen units that is gone."
    )
    pruned: float | None
    recovered: float | None
    epochs: int = Field(description="How many were trained.")
    stopped_early: bool = Field(default=False, description="Whether recover.patience ended the round before its time.")
    best_epoch: int = Field(description="The epoch whose weights were kept; 0: those from before the training.")
    recalibrated: bool | None = Field(
        default=None,
        description="Whether new statistics of batch norm did better than the old ones and were kept. null: there "
        "were no new ones.",
    )
    amount: float | None = Field(
        default=None,
        description="Of a search: the share that this trial took in all. null: nothing was taken, and what is kept "
        "trained on.",
    )
    kept: bool = Field(default=True, description="false: a search found it too bad, and went back to the one before.")
    ticket: Ticket | None = Field(default=None, description="Where recover.controls asks for it.")

    @property
    def gone(self) -> float:
        """The share of the chosen weights, or units, that is gone after it."""
        return (self.units_removed if self.sparsity is None else self.sparsity) or 0.0


class BudgetSearch(Record):
    """The search for the smallest network within a budget, all on the validation data."""

    dense: float = Field(description="The dense network's metric.")
    bound: float = Field(description="The worst that the budget allows.")
    found: float | None = Field(description="Of the network that is handed over.")
    trials: int = Field(description="Networks that were tried, one a round. A last round may train on what was found.")
    epochs: int = Field(description="Of training, in all trials together.")
    epochs_of_one_job: int = Field(description="What a job with the same schedule and recipe would train.")


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

    dense_parameters: int = Field(description="As uploaded.")
    parameters: int = Field(description="As handed over.")
    nonzero: int = Field(description="Of those handed over.")
    dense_bytes: int = Field(description="Bytes of all parameters and buffers, as uploaded.")
    pruned_bytes: int = Field(description="Bytes of all parameters and buffers, as handed over.")
    artifacts: dict[str, int] = Field(description="Bytes of each file handed over.")
    gzip_bytes: dict[str, int] = Field(description="The tensors of the dense and of the pruned network under gzip -6.")
    note: str = Field(
        default_factory=lambda size: REMOVED_NOTE if size["parameters"] < size["dense_parameters"] else ZEROS_NOTE
    )


class Calibration(Record):
    """What an importance was gathered on, in each round anew."""

    kind: str = Field(description="The importance.", examples=["taylor"])
    batches: int = Field(description="Batches of training examples; of movement, steps.")
    examples: int = Field(description="Different training examples in them.")


class Macs(Record):
    """Multiply-accumulates of one example, in convolutions, linear layers, matrix products and attention."""

    dense: int
    pruned: int


class UnitCount(Record):
    """How many units of a group there were and are."""

    group: str = Field(description="The weight that gives the units.")
    kind: UnitKind
    before: int
    after: int


class Proof(Record):
    """The smaller network equals the uploaded graph with the removed units' entries set to zero at every node.

    Both have the numbers that are handed over; what was removed has those of the upload.
    Where an operator takes statistics across removed units (a layer norm, say) both take them over what is left.
    """

    holds: bool
    max_relative_error: float = Field(description="Largest difference of outputs, relative to the largest output.")
    tolerance: float
    effect: float = Field(
        description="How far the pruned outputs are from those with the removed units put back, relative to the "
        "largest: near 0 the proof says little."
    )
    nodes_plain: int = Field(description="Nodes whose removed entries were set to zero and nothing else.")
    nodes_restricted: tuple[str, ...] = Field(
        default=(), description="Nodes whose statistics were taken over the survivors only."
    )


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
    budget: BudgetSearch | None = Field(default=None, description="Of a search (max_accuracy_drop) only.")
    sensitivity: Sensitivity | None = Field(
        default=None, description="What each layer or group matters by itself, where that was asked for or gone by."
    )
    sparsity: Sparsity | None = Field(default=None, description="Weight jobs only.")
    n_m: BlockedLayers | None = Field(
        default=None, description="N:M jobs only: the proof of the pattern. A job whose proof fails, fails."
    )
    size: Size
    macs: Macs | None = Field(default=None, description="Structured jobs only.")
    units: tuple[UnitCount, ...] = Field(default=(), description="Structured jobs only: the chosen groups.")
    frozen: tuple[FrozenNode, ...] = Field(default=(), description="Structured jobs only.")
    proof: Proof | None = Field(default=None, description="Structured jobs only: a job whose proof fails, fails.")
    calibration: Calibration | None = Field(
        default=None, description="Only where the importance looks at data: how much of it."
    )
    latency: tuple[Latency, ...]
    semi_structured: SemiStructured | None = Field(
        default=None, description="N:M jobs on CUDA only: the network on kernels that skip its zeros."
    )
    predicted_latency: PredictedLatency | None = Field(
        default=None, description="Of a search that minimises latency only: the times that it decided by."
    )
    timing: dict[str, float] = Field(description="Seconds a stage before `measure`, in all attempts that counted.")
    notes: tuple[str, ...] = Field(
        default=(), description="What a reader should know: a no-op, a fallback, an assumption."
    )
    provenance: Provenance
