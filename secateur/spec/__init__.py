"""The job spec: what a user asks for. The same classes in client and server; every union is told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from secateur.ids import ModelId
from secateur.record import Record
from secateur.spec.agreement import RULES
from secateur.spec.data import Data
from secateur.spec.finalize import Finalize
from secateur.spec.prune import Prune
from secateur.spec.recover import Recover
from secateur.spec.rewinding import LotteryTicket
from secateur.spec.task import Classification, Task

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

    @field_validator("recover")
    @classmethod
    def _fits(cls, recover: Recover, info: ValidationInfo) -> Recover:
        return recover.fitting(info.data.get("task"))

    @field_validator(*RULES)
    @classmethod
    def _agrees(cls, part: Any, info: ValidationInfo) -> Any:
        for rule in RULES[str(info.field_name)]:
            rule(part, info.data)
        return part

    @property
    def trains_dense(self) -> bool:
        """Whether the job trains the dense network itself, which then is not the upload."""
        return isinstance(self.recover, LotteryTicket) and self.recover.trains_dense

    @property
    def wanted(self) -> tuple[str, ...]:
        """The artifacts that the job hands over: no network where it only measures one."""
        asked = self.finalize.artifacts
        return tuple(each for each in asked if each == "figure") if self.prune.measures else asked

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
