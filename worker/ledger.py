"""What a job knows so far: measured once, kept in every checkpoint, and read by the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from secateur.removal.latency import UnitTimes
from secateur.report import Round
from secateur.sensitivity import Curve, Sensitivity
from secateur.states import Stage
from worker.recovery.objective import Score


class Taken(BaseModel):
    """How much is gone after a round of pruning: zeros where weights are taken, units where those are."""

    sparsity: float | None = None
    units_removed: float | None = None
    parameters: int | None = None
    macs: int | None = None


class Ledger(BaseModel):
    """The measurements of a job, in the order in which they are made."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    unit_times: UnitTimes | None = None
    initial: Score | None = None
    dense_trained: bool = False
    dense: Score | None = None
    dense_on_validation: Score | None = None
    curves: list[Curve] = []
    sensitivity: Sensitivity | None = None
    one_shot: Score | None = None
    pruned: Score | None = None
    round: int = 0
    round_taken: Taken = Taken()
    round_pruned: Score | None = None
    round_reported: Score | None = None
    kept_taken: Taken = Taken()
    rounds: list[Round] = []
    notes: list[str] = []
    seconds: dict[str, float] = {}

    def note(self, sentence: str) -> bool:
        """Keep a sentence for the report; whether it is new."""
        if sentence in self.notes:
            return False
        self.notes.append(sentence)
        return True

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time spent inside to the stage's seconds, also when it is left early."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - begun
