"""What a job's importance gathers on training examples, joined from the data and the formulas."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

import torch
from torch import Tensor

from secateur import report
from secateur.errors import EmptyDataset
from secateur.layers import named
from secateur.spec.importance import Gathered, Movement, UnitImportance, WeightImportance
from worker.bench import Bench
from worker.methods.anatomy import Anatomy
from worker.program.program import Program
from worker.pruning.cut import Cut
from worker.pruning.evidence import SUMS, Evidence
from worker.pruning.inputs import Inputs
from worker.pruning.masks import Masks
from worker.recovery.calibration import Calibration
from worker.recovery.effects import Effects, effects, moved
from worker.recovery.portion import Note, Portion
from worker.recovery.running import run

FIRST = 1
"""The round that everything which is found out about the network as uploaded belongs to."""

UNITS = "units"


class Gathering:
    """Gathers anew whenever it is asked to, on the program as it then is, which is left as it was.

    What comes out depends on the program, the seed and the round alone, so that a resumed job gathers the same. Where
    the memory is not enough for a batch it goes through the program in parts; a pause that is asked for comes between
    two batches.
    """

    def __init__(self, importance: WeightImportance | UnitImportance, bench: Bench, note: Note) -> None:
        self._importance, self._seed, self._note = importance, bench.spec.seed, note
        wanted = importance.batches if isinstance(importance, Gathered) else 0
        self._calibration = Calibration(
            bench.train,
            bench.objective,
            bench.batch_size,
            wanted,
            self._seed,
            bench.device,
            note,
            bench.pause_if_asked,
        )

    def of_weights(self, program: Program, masks: Masks, names: Collection[str], number: int) -> Evidence:
        """What the importance of the weights of these names rests on in round `number`."""
        if not isinstance(self._importance, Gathered):
            return Evidence(self._seed)
        if self._importance.kind == "wanda":
            return Evidence(self._seed, self._norms(program, names, number))
        total = SUMS[self._importance.kind]()
        for each in self._effects(program, masks, names, number):
            total.add(each.of, each.labels)
        return Evidence(self._seed, total.total())

    def of_units(self, anatomy: Anatomy, program: Program, cut: Cut, number: int) -> Tensor | None:
        """Of each label of the whole program, from what `cut` left of it: float64; None where nothing is gathered."""
        if not isinstance(self._importance, Gathered):
            return None
        total = SUMS[self._importance.kind]()
        for each in self._effects(program, {}, anatomy.parameters, number):
            total.add({UNITS: anatomy.owned(each.of, cut)}, each.labels)
        return total.total()[UNITS]

    def findings(self) -> dict[str, report.Calibration]:
        """The field of the report that says on how much was gathered; none where nothing was."""
        if not isinstance(self._importance, Gathered):
            return {}
        data = self._calibration
        kind: str = self._importance.kind
        return {"calibration": report.Calibration(kind=kind, batches=data.batches, examples=data.examples)}

    def _effects(self, program: Program, masks: Masks, names: Collection[str], number: int) -> Iterator[Effects]:
        """Raises EmptyDataset."""
        none = True
        if isinstance(self._importance, Movement):
            found = moved(program, self._calibration, names, number, masks, self._importance.learning_rate)
        else:
            found = effects(program, self._calibration, names, number)
        for each in found:
            none = False
            self._say_what_counts_for_nothing(each.unreached)
            yield each
        if none:
            raise EmptyDataset("The training examples that the importance is gathered on have no label that counts.")

    def _norms(self, program: Program, names: Collection[str], number: int) -> dict[str, Tensor]:
        program.set_training(False)
        inputs, portion = Inputs(program, names), self._calibration.portion()
        for batch, target in self._calibration.drawn(number):
            done = 0
            while done < len(target):
                done = portion.fitting(partial(self._look, inputs, batch, done, portion))
        norms = inputs.norms()
        self._say_what_counts_for_nothing([name for name in names if name not in norms])
        parameters = dict(program.named_parameters())
        empty = {name: torch.zeros_like(parameters[name], dtype=torch.float32) for name in names}
        return {**empty, **norms}

    def _look(self, inputs: Inputs, batch: tuple[Tensor, ...], start: int, portion: Portion) -> int:
        """Look at what the next examples of a batch give; where they end."""
        stop = start + portion.size
        run(inputs, [tensor[start:stop] for tensor in batch], self._calibration.device)
        return stop

    def _say_what_counts_for_nothing(self, unreached: Collection[str]) -> None:
        if unreached:
            self._note(
                f"To {self._importance.kind} these count for nothing, as the scored output does not depend on them: "
                f"{named(list(unreached))}."
            )
