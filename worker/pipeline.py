"""The work of one job: prune and fine-tune round by round, then finalize and measure. It knows files, but no Redis.

What is taken away, and how, is the method's business; the rest is the same for all of them. Everything that a later
attempt needs goes into a checkpoint: the ledger, what was taken, and either the training in progress or the program as
the last round left it. A resumed job ends with the same bytes as an undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from secateur.errors import Diverged, JobFailed
from secateur.report import Round, finite
from secateur.spec.training import Training
from secateur.states import Stage
from worker import bench, checkpoint, finalize
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.ledger import Ledger
from worker.methods.masking import Masking
from worker.methods.method import Method, Note
from worker.methods.removal import Removal
from worker.narration import Narration, Say
from worker.order import Checkpointed, Finished, JobOrder
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.pruning.masked import Masked
from worker.recovery.best import tensors_of
from worker.recovery.course import Course
from worker.recovery.data import Subset
from worker.recovery.objective import Score
from worker.recovery.state import TrainState, restore_tensors
from worker.recovery.train import Moment, fine_tune

METHODS: dict[str, Callable[[Program, Bench, Note], Method]] = {
    "weight": Masking,
    **dict.fromkeys(("channel", "neuron", "head", "unit"), Removal),
}
"""Every granularity of the spec."""


class PauseAsked(Exception):
    """The worker is to stop; the newest checkpoint is written."""


def run(order: JobOrder, say: Say, pause_asked: Callable[[], bool]) -> Finished | None:
    """Do the job; None when it paused.

    Raises:
        SecateurError: the job cannot be done; the error says why.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        return Pipeline(order, say, pause_asked).run()
    except PauseAsked:
        return None


class Pipeline:
    """One attempt at one job."""

    def __init__(self, order: JobOrder, say: Say, pause_asked: Callable[[], bool]) -> None:
        self._order = order
        self._pause_asked = pause_asked
        self._folder = Path(order.folder)
        self._checkpoints = 0
        self._saved_s = time.monotonic()
        self._narration = Narration(say, order.spec, Ledger())
        self._training: TrainState | None = None
        self._bench: Bench
        self._method: Method

    def run(self) -> Finished:
        """Everything, from where the checkpoint says."""
        with self._stage(Stage.LOAD):
            self._load()
        with self._stage(Stage.EVALUATE):
            self._evaluate()
        for number in range(len(self._ledger.rounds) + 1, self._order.spec.prune.rounds + 1):
            self._round(number)
        with self._stage(Stage.FINALIZE):
            dense = read(Path(self._order.model))
            self._method.commit(dense)
            recovered = self._score(self._method.program, self._bench.reported)
            if finite(recovered.value) is None:
                raise Diverged(f"The pruned network's {self._bench.objective.metric} is no finite number.")
            wanted = self._order.spec.finalize.artifacts
            artifacts = finalize.write(self._method.program, self._method.masks, wanted, self._folder)
        self._tell("recovered", recovered)
        with self._stage(Stage.MEASURE):
            report = finalize.report(self._order, self._bench, dense, self._method, self._ledger, recovered, artifacts)
        return Finished(report=report, artifacts=tuple(artifacts))

    def _load(self) -> None:
        program = read(Path(self._order.model))
        self._bench = bench.lay_out(self._order, inspect(program))
        for sentence in self._bench.inspection.notes:
            self._narration.note(sentence)
        method = METHODS[self._order.spec.prune.granularity]
        self._method = method(program, self._bench, self._narration.note)
        if self._order.checkpoint is not None:
            path = Path(self._order.checkpoint)
            if checkpoint.intact(path, self._order.checkpoint_sha256):
                self._resume(path)
            else:
                self._narration.note("The checkpoint of the attempt before is missing or damaged: the job began again.")

    def _evaluate(self) -> None:
        work = self._bench
        if self._ledger.dense is None:
            self._ledger.dense = self._score(self._method.program, work.reported)
            if finite(self._ledger.dense.value) is None:
                raise JobFailed(f"The uploaded network's {work.objective.metric} is no finite number on the data.")
            self._tell("dense", self._ledger.dense)
        if self._ledger.one_shot is None:
            with self._method.at_once() as network:
                self._ledger.one_shot = self._score(network, work.reported)
            self._tell("one_shot", self._ledger.one_shot)

    @property
    def _ledger(self) -> Ledger:
        return self._narration.ledger

    @contextmanager
    def _stage(self, stage: Stage, number: int = 0) -> Iterator[None]:
        self._pause_if_asked()
        with self._narration.stage(stage, number):
            yield

    def _round(self, number: int) -> None:
        if self._ledger.round < number:
            with self._stage(Stage.PRUNE, number):
                self._prune(number)
        with self._stage(Stage.FINE_TUNE, number):
            self._fine_tune(number)
        self._save()

    def _prune(self, number: int) -> None:
        work, prune = self._bench, self._order.spec.prune
        taken = self._method.prune(number)
        if self._training is not None:
            self._training = self._method.carried(self._training)
        self._ledger.round, self._ledger.round_taken = number, taken
        self._ledger.round_pruned = self._score(self._method.program, work.validation)
        if number == prune.rounds:
            same = work.reported is work.validation
            score = self._ledger.round_pruned if same else self._score(self._method.program, work.reported)
            self._ledger.pruned = score
        gone = taken.model_dump(exclude_none=True)
        self._tell("pruned", self._ledger.round_pruned, "validation", round=number, **gone)

    def _fine_tune(self, number: int) -> None:
        recover = self._order.spec.recover
        pruned = self._ledger.round_pruned
        assert pruned is not None
        recovered, best, epochs = pruned, 0, 0
        if isinstance(recover, Training):
            epochs = recover.epochs_in(number, self._order.spec.prune.rounds)
            outcome = fine_tune(
                self._method.program,
                self._course(recover),
                lambda weights, optimizer: Masked(weights, self._method.masks, optimizer),
                number,
                epochs,
                self._handed_over(),
                pruned=pruned,
                on_step=self._stepped,
                on_epoch=self._epoch_ended,
            )
            recovered, best, self._training = outcome.recovered, outcome.best_epoch, outcome.state
        self._ledger.rounds.append(
            Round(
                round=number,
                sparsity=self._ledger.round_taken.sparsity,
                units_removed=self._ledger.round_taken.units_removed,
                pruned=finite(pruned.value),
                recovered=finite(recovered.value),
                epochs=epochs,
                best_epoch=best,
            )
        )
        self._tell("recovered", recovered, "validation", round=number, best_epoch=best)

    def _handed_over(self) -> TrainState | None:
        """Where training stands, for its taker alone: its tensors are not kept while the round goes on."""
        state, self._training = self._training, None
        return state

    def _course(self, recover: Training) -> Course:
        work = self._bench
        clamped = recover.model_copy(update={"batch_size": work.batch_size})
        return Course(work.train, work.validation, work.objective, clamped, work.spec.seed, work.device)

    def _stepped(self, moment: Moment) -> None:
        self._narration.step(moment)
        if time.monotonic() - self._saved_s > self._order.checkpoint_every_s or self._pause_asked():
            self._training = moment.state()
            self._save()
            self._pause_if_asked()

    def _epoch_ended(self, moment: Moment, score: Score) -> None:
        at = {"round": moment.round_index, "epoch": moment.epoch, "epochs": moment.epochs}
        self._tell("epoch", score, "validation", **at)

    def _score(self, program: Program, examples: Subset) -> Score:
        return self._bench.score(program, examples, lambda *_: self._pause_if_asked())

    def _pause_if_asked(self) -> None:
        if self._pause_asked():
            raise PauseAsked

    def _save(self) -> None:
        tensors = self._method.tensors()
        note = {"ledger": self._ledger.model_dump(mode="json"), "training": None}
        if self._training is not None:
            tensors |= {f"training/{name}": tensor for name, tensor in self._training.tensors.items()}
            note["training"] = self._training.facts
        if len(self._ledger.rounds) == self._ledger.round:
            tensors |= {f"program/{name}": tensor for name, tensor in tensors_of(self._method.program).items()}
        self._checkpoints += 1
        path = self._folder / f"checkpoint-{self._checkpoints:06}.safetensors"
        digest = checkpoint.save(Checkpoint(tensors, note), path)
        self._narration.say(Checkpointed(name=path.name, sha256=digest, round=self._ledger.round))
        self._saved_s = time.monotonic()

    def _resume(self, path: Path) -> None:
        saved = checkpoint.load(path)
        self._narration.ledger = Ledger.model_validate(saved.note["ledger"])
        self._method.restore(saved)
        if saved.note["training"] is not None:
            self._training = TrainState(saved.under("training"), saved.note["training"])
        restore_tensors(tensors_of(self._method.program), saved.under("program"))
        self._narration.note(f"Attempt {self._order.attempt} went on from a checkpoint in round {self._ledger.round}.")

    def _tell(self, when: str, score: Score, on: str | None = None, **more: Any) -> None:
        self._narration.score(when, self._bench.objective.metric, on or self._bench.reported_on, score, **more)
