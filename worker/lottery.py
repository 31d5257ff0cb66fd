"""What a lottery ticket needs beside pruning and training: the values to go back to, and networks to compare with."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from secateur.errors import InvalidSpec
from secateur.spec.rewinding import LotteryTicket
from worker.checkpoint import Checkpoint
from worker.methods.method import Method, Network
from worker.program.program import Program
from worker.pruning.draws import generator, permuted
from worker.recovery.best import tensors_of
from worker.recovery.state import on_host

PREFIX = "rewind"

Values = Mapping[str, Tensor]
"""Parameters and buffers by their names in the upload, in its shapes, on the host."""


class Lottery:
    """The values of the initialisation, and of the epoch that every round goes back to."""

    def __init__(self, recover: LotteryTicket, initial: Program, seed: int) -> None:
        self._recover, self._seed = recover, seed
        self._initial = on_host(tensors_of(initial))
        self._point: Values | None = self._initial if recover.rewind_epoch == 0 else None
        self._parameters = {name for name, _ in initial.named_parameters()}

    @property
    def trains_dense(self) -> bool:
        """Whether the job's dense network is not the upload."""
        return self._recover.trains_dense

    def epoch_ended(self, program: Program, epoch: int) -> None:
        """Remember the values when the dense training has come to the epoch to go back to."""
        if epoch == self._recover.rewind_epoch:
            self._point = on_host(tensors_of(program))

    def rewind(self, method: Method) -> None:
        """Give what survived the values of that epoch."""
        method.rewind(self._values)

    def control(self, name: str, method: Method, index: int) -> Network:
        """A network to compare the ticket with, as untrained as it was; `index` makes the draw differ."""
        if name == "random_reinit":
            return method.sibling({key: self._drawn(key, index) for key in self._initial})
        return method.sibling(self._values, shuffled=self._seed + index)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the upload, once it is known."""
        if self._recover.rewind_epoch == 0 or self._point is None:
            return {}
        return {f"{PREFIX}/{name}": tensor for name, tensor in self._point.items()}

    def restore(self, saved: Checkpoint) -> None:
        """Take over the values of a checkpoint."""
        self._point = saved.under(PREFIX) or self._point

    @property
    def _values(self) -> Values:
        assert self._point is not None
        return self._point

    def _drawn(self, name: str, index: int) -> Tensor:
        """Values of a parameter drawn from its own initial ones, without putting back; buffers are as they were.

        Without the class that made it nobody knows the distribution of an initialisation, but its entries are a sample
        of it: where they are independent and alike, as in every layer of PyTorch's own, their shuffling is another.
        """
        values = self._initial[name]
        return permuted(values, generator(self._seed + index, name)) if name in self._parameters else values


def require_same(initial: Program, program: Program) -> None:
    """Raises InvalidSpec unless both have the same tensors."""
    shapes, wanted = (
        {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors_of(each).items()}
        for each in (initial, program)
    )
    if shapes != wanted:
        odd = sorted(set(shapes.items()) ^ set(wanted.items()))[0][0]
        raise InvalidSpec(
            f"recover.initial is no earlier state of the model: {odd!r} is not the same tensor in both.",
            remedy="Give the very program, with the numbers that it was trained from.",
        )
