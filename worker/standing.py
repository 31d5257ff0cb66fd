"""Where an attempt at a job stands: all that it works with, put together, saved, and taken up again.

Everything that a later attempt needs goes into a checkpoint: the ledger, what was taken, and either the training in
progress or the program as the last round left it. A resumed job ends with the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from secateur.spec.prune import Prune
from secateur.spec.rewinding import LotteryTicket
from secateur.states import Stage
from worker import bench, checkpoint
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.kept import Kept
from worker.ledger import Ledger
from worker.lottery import Lottery, require_same
from worker.methods.masking import Masking
from worker.methods.method import Method
from worker.methods.removal import Removal
from worker.narration import Narration, Say
from worker.order import Checkpointed, JobOrder
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.best import tensors_of
from worker.recovery.data import Subset
from worker.recovery.objective import Score
from worker.recovery.portion import Note
from worker.recovery.state import TrainState, restore_tensors
from worker.trainer import PauseAsked, Trainer

METHODS: dict[str, Callable[[Program, Bench, Note], Method]] = {
    "weight": Masking,
    **dict.fromkeys(("channel", "neuron", "head", "unit"), Removal),
}
"""Every granularity of the spec."""


class Standing:
    """One attempt. After `load` there are the bench, the method that takes, the trainer, and what a ticket needs."""

    bench: Bench
    method: Method
    trainer: Trainer

    def __init__(self, order: JobOrder, say: Say, pause_asked: Callable[[], bool]) -> None:
        self.order = order
        self.folder = Path(order.folder)
        self.narration = Narration(say, order.spec, Ledger())
        self.lottery: Lottery | None = None
        self.kept: Kept | None = None
        self._pause_asked = pause_asked
        self._checkpoints = 0

    @property
    def ledger(self) -> Ledger:
        """What is known so far."""
        return self.narration.ledger

    def load(self) -> None:
        """Read the upload and the data, and go on from the checkpoint, where there is one. Raises SecateurError."""
        saved = self._saved()
        if saved is not None:
            self.narration.ledger = Ledger.model_validate(saved.note["ledger"])
        spec, program = self.order.spec, self.upload()
        laid_out = bench.lay_out(self.order, inspect(program), program)
        self.bench = replace(laid_out, unit_times=self.ledger.unit_times, pause_if_asked=self.pause_if_asked)
        for sentence in self.bench.inspection.notes:
            self.narration.note(sentence)
        if isinstance(spec.recover, LotteryTicket):
            self.lottery = Lottery(spec.recover, self._initial(program), spec.seed)
        self.method = METHODS[spec.prune.granularity](program, self.bench, self.narration.note)
        self.trainer = Trainer(self.bench, self.narration, self.order.checkpoint_every_s, self._pause_asked)
        self.trainer.save = self.save
        if saved is not None:
            self._resume(saved)
        if self.ledger.unit_times != self.method.unit_times:
            self.ledger.unit_times = self.method.unit_times
            self.save()

    def save(self) -> None:
        """Write a checkpoint of where everything stands."""
        ledger, training = self.ledger, self.trainer.state
        tensors = self.method.tensors()
        note = {"ledger": ledger.model_dump(mode="json"), "training": None}
        if self.lottery is not None:
            tensors |= self.lottery.tensors()
        if self.kept is not None:
            tensors |= self.kept.tensors()
            note["kept"] = None if self.kept.training is None else self.kept.training.facts
        if training is not None:
            tensors |= {f"training/{name}": tensor for name, tensor in training.tensors.items()}
            note["training"] = training.facts
        if len(ledger.rounds) == ledger.round and (ledger.round > 0 or ledger.dense_trained):
            tensors |= {f"program/{name}": tensor for name, tensor in tensors_of(self.method.program).items()}
        self._checkpoints += 1
        path = self.folder / f"checkpoint-{self._checkpoints:06}.safetensors"
        digest = checkpoint.save(Checkpoint(tensors, note), path)
        self.narration.say(Checkpointed(name=path.name, sha256=digest, round=ledger.round))
        self.trainer.saved()

    def upload(self) -> Program:
        """The program as it was uploaded, read anew."""
        return read(Path(self.order.model))

    def anew(self, prune: Prune) -> Method:
        """The method of a job with another `prune`, on the upload; it goes by what was found out about that."""
        spec = self.order.spec.model_copy(update={"prune": prune})
        changed = replace(self.bench, spec=spec, unit_times=self.ledger.unit_times)
        method = METHODS[prune.granularity](self.upload(), changed, self.narration.note)
        if self.ledger.sensitivity is not None:
            method.spread(self.ledger.sensitivity)
        return method

    def score(self, program: Program, examples: Subset) -> Score:
        """How good a program is. Raises PauseAsked."""
        return self.bench.score(program, examples, lambda *_: self.pause_if_asked(), self.narration.note)

    def dense_on_validation(self) -> Score:
        """Measured once, and asked for before anything is taken."""
        work, ledger = self.bench, self.ledger
        if ledger.dense_on_validation is None:
            known = ledger.dense if work.reported is work.validation else None
            ledger.dense_on_validation = known or self.score(self.method.program, work.validation)
        return ledger.dense_on_validation

    def tell(self, when: str, score: Score, on: str | None = None, **more: Any) -> None:
        """A measurement; on the data that reports, unless `on` says another."""
        self.narration.score(when, self.bench.objective.metric, on or self.bench.reported_on, score, **more)

    @contextmanager
    def stage(self, stage: Stage, number: int = 0) -> Iterator[None]:
        """Everything inside belongs to this stage. Raises PauseAsked."""
        self.pause_if_asked()
        with self.narration.stage(stage, number):
            yield

    def pause_if_asked(self) -> None:
        """Raise PauseAsked when the worker is to stop."""
        if self._pause_asked():
            raise PauseAsked

    def _saved(self) -> Checkpoint | None:
        """Where the attempt before came to; None where there is nothing of it."""
        if self.order.checkpoint is None:
            return None
        path = Path(self.order.checkpoint)
        if checkpoint.intact(path, self.order.checkpoint_sha256):
            return checkpoint.load(path)
        self.narration.note("The checkpoint of the attempt before is missing or damaged: the job began again.")
        return None

    def _initial(self, program: Program) -> Program:
        """What a lottery ticket goes back to: the upload, or the model that the spec names."""
        if self.order.initial is None:
            return program
        initial = read(Path(self.order.initial))
        require_same(initial, program)
        return initial

    def _resume(self, saved: Checkpoint) -> None:
        self.method.restore(saved)
        if self.lottery is not None:
            self.lottery.restore(saved)
        if saved.note["training"] is not None:
            self.trainer.state = TrainState(saved.under("training"), saved.note["training"])
        if "kept" in saved.note:
            self.kept = Kept.from_checkpoint(saved, saved.note["kept"])
        restore_tensors(tensors_of(self.method.program), saved.under("program"))
        self.narration.note(f"Attempt {self.order.attempt} went on from a checkpoint in round {self.ledger.round}.")
