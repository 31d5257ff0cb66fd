"""What differs between taking single weights and taking whole units; everything else of a job is the same for both."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor

from secateur.removal.latency import UnitTimes
from secateur.sensitivity import Sensitivity
from secateur.units import UnitKind
from worker.checkpoint import Checkpoint
from worker.ledger import Taken
from worker.program.program import Program
from worker.pruning.masks import Masks
from worker.recovery.state import TrainState
from worker.recovery.teacher import Part as LeftOf
from worker.recovery.teacher import whole


class Network(NamedTuple):
    """A program and what of its tensors stays zero while they are trained."""

    program: Program
    masks: Masks
    left_of: LeftOf = whole
    """What is left of the upload's value at a node, as the program has it."""


class Part(NamedTuple):
    """A layer, or a group of units, that can be taken from by itself."""

    kind: Literal["weight"] | UnitKind
    size: int
    most: int
    """How many of its weights or units can go."""


class Probe(Protocol):
    """The network as uploaded, from which one layer or group by itself can be taken."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """What can be taken from, by name."""

    def without(self, name: str, count: int) -> AbstractContextManager[Program]:
        """The network without so many weights or units of one part: those that go first by the job's importance.

        Raises SurgeryFailed where that cannot be cut.
        """


class Method(Protocol):
    """One way of making a network smaller, applied to one program.

    It is made from the uploaded program, plans all rounds from it as it came, so that every attempt has the same plan,
    and refuses there what cannot be done, before anything is spent on it.
    """

    @property
    def program(self) -> Program:
        """The network as it is now: what is scored, trained and in the end handed over."""

    @property
    def masks(self) -> Masks:
        """What of the present tensors stays zero while they are trained."""

    @property
    def network(self) -> Network:
        """Both, as they are to be trained."""

    def at_once(self) -> AbstractContextManager[Program]:
        """The upload with the final amount taken at once, without training; asked for before the first round."""

    def probe(self) -> Probe:
        """What each layer or group matters can be found out with; asked for before the first round."""

    def spread(self, found: Sensitivity) -> None:
        """From now on, take from each layer or group what follows from how much it was found to matter."""

    @property
    def unit_times(self) -> UnitTimes | None:
        """What units cost in time, as it measured or was given it; later attempts decide by the same.

        None: time does not count.
        """

    @property
    def most(self) -> float:
        """The share that is gone after the last round that is planned; of a search, the largest that can be tried."""

    def prune(self, number: int, amount: float | None = None) -> Taken:
        """Take what round `number`, counted from 1, is to take; how much is gone then in all.

        With `amount`, so much is gone then, whatever the plan says.
        """

    def carried(self, state: TrainState) -> TrainState:
        """What the training of the last round left, as it fits the tensors of now."""

    def rewind(self, values: Mapping[str, Tensor]) -> None:
        """Give what is left of the network these values: of all parameters and buffers, in the upload's shapes."""

    def sibling(self, values: Mapping[str, Tensor], shuffled: int | None = None) -> Network:
        """A network of its own with these values, from which the same was taken as from `program`.

        With a seed in `shuffled`, as much as that from every layer or group, but at random.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold, besides the program's tensors, for `restore` to come back to here."""

    def restore(self, saved: Checkpoint) -> None:
        """Bring `program` and `masks` back to the shapes of a checkpoint; the program's numbers are set afterwards."""

    def commit(self, dense: Program) -> None:
        """Make permanent what was taken, and check it against the upload, which is not changed.

        Raises JobFailed where that shows a mistake.
        """

    def findings(self) -> dict[str, Any]:
        """The fields of the report that only this method fills. Asked for once `commit` is done."""
