"""The last network that a search kept: what it goes back to when a trial was too much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from worker.checkpoint import Checkpoint
from worker.methods.method import Method
from worker.recovery.best import tensors_of
from worker.recovery.state import TrainState, on_host, restore_tensors

PREFIX = "kept"


@dataclass(frozen=True)
class Kept:
    """Copies, on the host, of what the method took and of the program's tensors, and the optimizer's memory."""

    taken: Mapping[str, Tensor]
    program: Mapping[str, Tensor]
    training: TrainState | None

    @classmethod
    def of(cls, method: Method, training: TrainState | None) -> Kept:
        """The network as it is now."""
        memory = None if training is None else TrainState(on_host(training.tensors), training.facts)
        return cls(on_host(method.tensors()), on_host(tensors_of(method.program)), memory)

    def put_back(self, method: Method) -> None:
        """Make it the method's network again; nothing here changes with it."""
        method.restore(Checkpoint(on_host(self.taken)))
        restore_tensors(tensors_of(method.program), self.program)

    @property
    def memory(self) -> TrainState | None:
        """A copy of what the optimizer remembered."""
        return None if self.training is None else TrainState(on_host(self.training.tensors), self.training.facts)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        memory = {} if self.training is None else self.training.tensors
        parts = {"taken": self.taken, "program": self.program, "training": memory}
        return {f"{PREFIX}/{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}

    @classmethod
    def from_checkpoint(cls, saved: Checkpoint, facts: dict[str, object] | None) -> Kept:
        """What `tensors` gave; `facts` are those of the training."""
        own = Checkpoint(saved.under(PREFIX))
        memory = None if facts is None else TrainState(own.under("training"), facts)
        return cls(own.under("taken"), own.under("program"), memory)
