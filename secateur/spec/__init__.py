"""The job spec: what a user asks for. The same classes in client and server; every union is told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from secateur.ids import ModelId
from secateur.record import Record
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.data import Data
from secateur.spec.distill import Distill
from secateur.spec.finalize import Finalize
from secateur.spec.importance import Movement, Snip, Taylor
from secateur.spec.prune import Prune
from secateur.spec.recover import Recover
from secateur.spec.rewinding import LotteryTicket
from secateur.spec.structured import PruneUnits
from secateur.spec.task import Classification, DistillationOnly, Regression, Task
from secateur.spec.training import Training

__all__ = ["Device", "JobSpec"]

Device = Literal["auto", "cpu", "cuda"]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class JobSpec(Record):
    """One compression job: which model, on which data, what is taken away, and how the accuracy is won back."""

    model: ModelId
    data: Data
    task: Task = Classification()
    prune: Prune
    recover: Recover
    finalize: Finalize = Finalize()
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    device: Device = "auto"
    priority: int = Field(
        default=0, ge=-100, le=100, description="Higher goes first; equal ones in order of submission."
    )
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)

    @field_validator("prune")
    @classmethod
    def _a_slope_to_gather(cls, prune: Prune, info: ValidationInfo) -> Prune:
        importance = prune.importance
        if isinstance(info.data.get("task"), DistillationOnly) and isinstance(importance, Taylor | Snip | Movement):
            others = "l2, l1 or geometric_median" if isinstance(prune, PruneUnits) else "l1, lamp or wanda"
            raise ValueError(
                f"importance {importance.kind} is gathered from gradients of the loss; that of distillation_only is "
                f"the distance to the dense network, and has none at that network, where pruning begins: take {others}"
            )
        return prune

    @field_validator("recover")
    @classmethod
    def _classes_to_smooth_over(cls, recover: Recover, info: ValidationInfo) -> Recover:
        smoothed = isinstance(recover, Training) and recover.label_smoothing > 0
        if smoothed and isinstance(info.data.get("task"), Regression):
            raise ValueError(
                "label_smoothing spreads labels over classes, and the targets of a regression have none: leave it at 0"
            )
        return recover

    @field_validator("recover")
    @classmethod
    def _training_for_the_weights(cls, recover: Recover, info: ValidationInfo) -> Recover:
        if not isinstance(recover, Training) and getattr(info.data.get("task"), "class_weights", None) is not None:
            raise ValueError(
                f"task.class_weights are for training, and recover {recover.kind} trains nothing: leave them out"
            )
        return recover

    @field_validator("device")
    @classmethod
    def _half_floats_are_for_cuda(cls, device: Device, info: ValidationInfo) -> Device:
        if device == "cpu" and getattr(info.data.get("recover"), "precision", "full") == "fp16":
            raise ValueError("recover.precision fp16 needs a CUDA device: ask for bf16 or full, or for device cuda")
        return device

    @field_validator("recover")
    @classmethod
    def _rounds_to_control(cls, recover: Recover, info: ValidationInfo) -> Recover:
        searches = isinstance(getattr(info.data.get("prune"), "target", None), MaxAccuracyDrop)
        if searches and isinstance(recover, LotteryTicket) and recover.controls != "none":
            raise ValueError(
                "a search (max_accuracy_drop) tries amounts that nobody knows before, so its rounds have no controls: "
                "set controls to none, or ask for the sparsity that the search found"
            )
        return recover

    @field_validator("finalize")
    @classmethod
    def _no_masks_of_units(cls, finalize: Finalize, info: ValidationInfo) -> Finalize:
        if "checkpoint" in finalize.artifacts and isinstance(info.data.get("prune"), PruneUnits):
            raise ValueError(
                "the artifact checkpoint holds weights and their masks; units are removed whole and have none: "
                "ask for pt2 and safetensors"
            )
        return finalize

    @field_validator("recover")
    @classmethod
    def _something_to_learn(cls, recover: Recover, info: ValidationInfo) -> Recover:
        task = info.data.get("task")
        if not isinstance(recover, Training) or task is None:
            return recover
        taught = isinstance(task, DistillationOnly)
        numbers = isinstance(task, Regression) or (isinstance(task, DistillationOnly) and task.like == "regression")
        distill = recover.distill
        if taught and isinstance(recover, LotteryTicket) and recover.trains_dense:
            raise ValueError(
                "distillation_only learns from the dense network, which this lottery_ticket is yet to train: give the "
                "trained network as model and its initialisation as recover.initial"
            )
        if taught and recover.label_smoothing > 0:
            raise ValueError("label_smoothing spreads labels, and distillation_only has none: leave it at 0")
        if distill is not None and numbers and distill.temperature != Distill().temperature:
            raise ValueError("distill.temperature softens scores of classes, and numbers have none: leave it out")
        if distill is not None and numbers and taught and not distill.features:
            raise ValueError(
                "distillation_only of numbers has no other loss than the distance to the dense network's: leave "
                "distill out, or name features"
            )
        return recover

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of all models that the job reads, each once: the one that it prunes first."""
        initial = self.recover.initial if isinstance(self.recover, LotteryTicket) else None
        return tuple(dict.fromkeys(i for i in (self.model, initial) if i is not None))

    @property
    def datasets(self) -> tuple[str, ...]:
        """The ids of all data sets that the job reads, each once."""
        validation = self.data.validation if isinstance(self.data.validation, str) else None
        return tuple(dict.fromkeys(i for i in (self.data.train, self.data.test, validation) if i is not None))
