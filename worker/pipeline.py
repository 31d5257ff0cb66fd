"""The work of one job: prune and fine-tune round by round, then finalize and measure. It knows files, but no Redis.

What is taken away, and how, is the method's business; the rest is the same for all of them. Everything that a later
attempt needs goes into a checkpoint: the ledger, what was taken, and either the training in progress or the program as
the last round left it. A resumed job ends with the same bytes as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from secateur.errors import Diverged, JobFailed
from secateur.report import Round, Ticket, finite
from secateur.sensitivity import Sensitivity
from secateur.spec.budget import MaxAccuracyDrop
from secateur.spec.rewinding import LotteryTicket
from secateur.states import Stage
from worker import agenda, bench, checkpoint, finalize
from worker.bench import Bench
from worker.checkpoint import Checkpoint
from worker.kept import Kept
from worker.ledger import Ledger
from worker.lottery import Lottery, require_same
from worker.methods.masking import Masking
from worker.methods.method import Method, Note
from worker.methods.removal import Removal
from worker.narration import Narration, Say
from worker.order import Checkpointed, Finished, JobOrder, Probed
from worker.plan import Budget, Plan, Schedule, Step
from worker.program.inspection import inspect
from worker.program.program import Program
from worker.program.reader import read
from worker.recovery.best import tensors_of
from worker.recovery.data import Subset
from worker.recovery.objective import Score
from worker.recovery.state import TrainState, restore_tensors
from worker.sensitivity import curves
from worker.trainer import PauseAsked, Trainer

METHODS: dict[str, Callable[[Program, Bench, Note], Method]] = {
    "weight": Masking,
    **dict.fromkeys(("channel", "neuron", "head", "unit"), Removal),
}
"""Every granularity of the spec."""


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
        self._narration = Narration(say, order.spec, Ledger())
        self._bench: Bench
        self._method: Method
        self._trainer: Trainer
        self._lottery: Lottery | None = None
        self._plan: Plan = Schedule(order.spec)
        self._kept: Kept | None = None

    def run(self) -> Finished:
        """Everything, from where the checkpoint says."""
        rounds = self._order.spec.prune.rounds
        with self._stage(Stage.LOAD):
            self._load()
        self._train_dense()
        self._find_sensitivity()
        with self._stage(Stage.EVALUATE):
            self._evaluate()
        self._compare_ticket(rounds)
        while (step := self._plan.next(self._ledger.rounds)) is not None:
            self._round(step)
            self._compare_ticket(rounds)
        with self._stage(Stage.FINALIZE):
            dense = read(Path(self._order.model))
            self._evaluate_found()
            self._method.commit(dense)
            recovered = self._score(self._method.program, self._bench.reported)
            if finite(recovered.value) is None:
                raise Diverged(f"The pruned network's {self._bench.objective.metric} is no finite number.")
            wanted = self._order.spec.wanted
            artifacts = finalize.write(self._method.program, self._method.masks, wanted, self._folder)
        self._tell("recovered", recovered)
        with self._stage(Stage.MEASURE):
            searched = self._plan.findings(self._ledger.rounds) if isinstance(self._plan, Budget) else None
            report = finalize.report(
                self._order, self._bench, dense, self._method, self._ledger, recovered, artifacts, searched
            )
            drawn = finalize.draw(report, wanted, self._folder)
        return Finished(report=report, artifacts=(*artifacts, *drawn))

    def _load(self) -> None:
        saved = self._saved()
        if saved is not None:
            self._narration.ledger = Ledger.model_validate(saved.note["ledger"])
        spec, program = self._order.spec, read(Path(self._order.model))
        laid_out = bench.lay_out(self._order, inspect(program), program)
        times, pause = self._ledger.unit_times, self._pause_if_asked
        self._bench = replace(laid_out, unit_times=times, pause_if_asked=pause)
        for sentence in self._bench.inspection.notes:
            self._narration.note(sentence)
        if isinstance(spec.recover, LotteryTicket):
            self._lottery = Lottery(spec.recover, self._initial(program), spec.seed)
        self._method = METHODS[spec.prune.granularity](program, self._bench, self._narration.note)
        self._trainer = Trainer(self._bench, self._narration, self._order.checkpoint_every_s, self._pause_asked)
        self._trainer.save = self._save
        if saved is not None:
            self._resume(saved)
        if self._ledger.unit_times != self._method.unit_times:
            self._ledger.unit_times = self._method.unit_times
            self._save()

    def _saved(self) -> Checkpoint | None:
        """Where the attempt before came to; None where there is nothing of it."""
        if self._order.checkpoint is None:
            return None
        path = Path(self._order.checkpoint)
        if checkpoint.intact(path, self._order.checkpoint_sha256):
            return checkpoint.load(path)
        self._narration.note("The checkpoint of the attempt before is missing or damaged: the job began again.")
        return None

    def _initial(self, program: Program) -> Program:
        """What a lottery ticket goes back to: the upload, or the model that the spec names."""
        if self._order.initial is None:
            return program
        initial = read(Path(self._order.initial))
        require_same(initial, program)
        return initial

    def _train_dense(self) -> None:
        recover, method = self._order.spec.recover, self._method
        if not isinstance(recover, LotteryTicket) or not recover.trains_dense or self._ledger.dense_trained:
            return
        lottery = self._lottery
        assert lottery is not None
        if self._ledger.initial is None:
            with self._stage(Stage.EVALUATE):
                self._ledger.initial = self._score(method.program, self._bench.reported)
            self._tell("initial", self._ledger.initial)
        with self._stage(Stage.TRAIN):
            self._trainer.train(
                method.network, agenda.dense(recover), on_epoch=partial(lottery.epoch_ended, method.program)
            )
            self._ledger.dense_trained = True
        self._save()

    def _find_sensitivity(self) -> None:
        """What each layer matters, from a job before, from the checkpoint, or now; the method goes by it."""
        ledger, prune = self._ledger, self._order.spec.prune
        if not prune.needs_sensitivity:
            return
        if ledger.sensitivity is None:
            with self._stage(Stage.SENSITIVITY):
                ledger.sensitivity = self._order.sensitivity or self._probed()
            if ledger.sensitivity is self._order.sensitivity:
                self._narration.note("What each layer matters by itself was known from a job before.")
            else:
                self._narration.say(Probed(sensitivity=ledger.sensitivity))
        self._method.spread(ledger.sensitivity)

    def _probed(self) -> Sensitivity:
        work, ledger, amounts = self._bench, self._ledger, self._order.spec.prune.probed
        dense, probe = self._dense_on_validation(), self._method.probe()
        try:
            for curve in curves(
                probe,
                amounts,
                lambda program: self._score(program, work.validation).value,
                self._narration.note,
                ledger.curves,
            ):
                ledger.curves.append(curve)
                self._narration.probed(curve.name, len(ledger.curves), len(probe.parts))
                self._trainer.save_if_due()
        except PauseAsked:
            self._save()
            raise
        higher = work.objective.higher_is_better
        return Sensitivity(dense=dense.value, higher_is_better=higher, curves=tuple(ledger.curves))

    def _evaluate(self) -> None:
        work = self._bench
        if self._ledger.dense is None:
            self._ledger.dense = self._score(self._method.program, work.reported)
            if finite(self._ledger.dense.value) is None:
                raise JobFailed(f"The dense network's {work.objective.metric} is no finite number on the data.")
            self._tell("dense", self._ledger.dense)
        if self._order.spec.prune.measures:
            self._ledger.pruned = self._ledger.dense
        elif isinstance(self._order.spec.prune.target, MaxAccuracyDrop):
            self._plan = self._search()
        elif self._ledger.one_shot is None:
            self._take_at_once(self._method)

    def _take_at_once(self, method: Method) -> None:
        with method.at_once() as network:
            self._ledger.one_shot = self._score(network, self._bench.reported)
        self._tell("one_shot", self._ledger.one_shot)

    def _search(self) -> Budget:
        """The plan of a search, and the network that it starts from."""
        objective, dense = self._bench.objective, self._dense_on_validation()
        if self._kept is None:
            self._kept = Kept.of(self._method, None)
        return Budget(self._order.spec, objective.metric, objective.higher_is_better, dense, self._method.most)

    def _dense_on_validation(self) -> Score:
        """Measured once, and asked for before anything is taken."""
        work, ledger = self._bench, self._ledger
        if ledger.dense_on_validation is None:
            known = ledger.dense if work.reported is work.validation else None
            ledger.dense_on_validation = known or self._score(self._method.program, work.validation)
        return ledger.dense_on_validation

    def _evaluate_found(self) -> None:
        """What a search found, as if it had been asked for: at once, on the upload. Of other jobs it is known."""
        if not isinstance(self._plan, Budget):
            return
        spec, ledger = self._order.spec, self._ledger
        self._narration.note(self._plan.told(ledger.rounds))
        found = self._plan.found(ledger.rounds)
        if found is None:
            ledger.one_shot = ledger.pruned = ledger.dense
        elif self._lottery is None or not self._lottery.trains_dense:
            prune = spec.prune.taking(found)
            method = METHODS[prune.granularity](
                read(Path(self._order.model)),
                replace(self._bench, spec=spec.model_copy(update={"prune": prune}), unit_times=ledger.unit_times),
                self._narration.note,
            )
            if ledger.sensitivity is not None:
                method.spread(ledger.sensitivity)
            self._take_at_once(method)

    @property
    def _ledger(self) -> Ledger:
        return self._narration.ledger

    @contextmanager
    def _stage(self, stage: Stage, number: int = 0) -> Iterator[None]:
        self._pause_if_asked()
        with self._narration.stage(stage, number):
            yield

    def _round(self, step: Step) -> None:
        if self._ledger.round < step.number:
            with self._stage(Stage.PRUNE, step.number):
                self._prune(step)
        with self._stage(Stage.FINE_TUNE, step.number):
            self._fine_tune(step)
        self._keep_or_undo()
        self._save()

    def _keep_or_undo(self) -> None:
        ledger = self._ledger
        if not ledger.rounds[-1].kept:
            assert self._kept is not None
            self._kept.put_back(self._method)
            self._trainer.state = self._kept.memory
            return
        ledger.pruned, ledger.kept_taken = ledger.round_reported, ledger.round_taken
        if self._plan.searches:
            self._kept = Kept.of(self._method, self._trainer.state)

    def _prune(self, step: Step) -> None:
        work, number = self._bench, step.number
        if step.takes:
            taken = self._method.prune(number, step.amount)
            if self._trainer.state is not None:
                self._trainer.state = self._method.carried(self._trainer.state)
        else:
            taken, self._ledger.round_reported = self._ledger.kept_taken, self._ledger.pruned
        self._ledger.round, self._ledger.round_taken = number, taken
        self._ledger.round_pruned = self._score(self._method.program, work.validation)
        if step.last:
            same = work.reported is work.validation
            score = self._ledger.round_pruned if same else self._score(self._method.program, work.reported)
            self._ledger.round_reported = score
        gone = taken.model_dump(exclude_none=True)
        self._tell("pruned", self._ledger.round_pruned, "validation", round=number, **gone)

    def _fine_tune(self, step: Step) -> None:
        number, session, pruned = step.number, step.session, self._ledger.round_pruned
        assert pruned is not None
        recovered, best, epochs, stopped = pruned, 0, 0, False
        if session is not None:
            if self._lottery is not None:
                self._lottery.rewind(self._method)
            before = pruned if self._lottery is None else None
            outcome = self._trainer.train(
                self._method.network, session, before, enough=self._plan.enough if step.takes else None
            )
            recovered, best, epochs = outcome.recovered, outcome.best_epoch, outcome.epochs
            stopped = epochs < session.epochs
        recovered, recalibrated = self._trainer.recalibrate(self._method.program, number, recovered)
        self._ledger.rounds.append(
            Round(
                round=number,
                sparsity=self._ledger.round_taken.sparsity,
                units_removed=self._ledger.round_taken.units_removed,
                pruned=finite(pruned.value),
                recovered=finite(recovered.value),
                epochs=epochs,
                stopped_early=stopped,
                best_epoch=best,
                recalibrated=recalibrated,
                amount=step.amount,
                kept=self._plan.keeps(recovered),
            )
        )
        self._tell("recovered", recovered, "validation", round=number, best_epoch=best)

    def _compare_ticket(self, rounds: int) -> None:
        """Train what the newest ticket is compared with, and is not compared with yet."""
        recover, number, lottery = self._order.spec.recover, len(self._ledger.rounds), self._lottery
        if not isinstance(recover, LotteryTicket) or lottery is None or number == 0:
            return
        for name, session in agenda.controls(recover, number, rounds).items():
            known = self._ledger.rounds[-1].ticket
            if known is not None and getattr(known, name) is not None:
                continue
            with self._stage(Stage.CONTROL, number):
                known = known or self._ticket(number)
                network = lottery.control(name, self._method, session.index)
                self._trainer.train(network, session)
                score = self._score(network.program, self._bench.reported)
            self._trainer.state = None
            self._told_of_ticket(known, name, score)
            self._save()

    def _ticket(self, number: int) -> Ticket:
        score = self._score(self._method.program, self._bench.reported)
        self._tell("ticket", score, round=number)
        return Ticket(ticket=finite(score.value))

    def _told_of_ticket(self, known: Ticket, name: str, score: Score) -> None:
        number = len(self._ledger.rounds)
        self._tell(name, score, round=number)
        grown = known.model_copy(update={name: finite(score.value)})
        self._ledger.rounds[-1] = self._ledger.rounds[-1].model_copy(update={"ticket": grown})

    def _score(self, program: Program, examples: Subset) -> Score:
        return self._bench.score(program, examples, lambda *_: self._pause_if_asked(), self._narration.note)

    def _pause_if_asked(self) -> None:
        if self._pause_asked():
            raise PauseAsked

    def _save(self) -> None:
        ledger, training = self._ledger, self._trainer.state
        tensors = self._method.tensors()
        note = {"ledger": ledger.model_dump(mode="json"), "training": None}
        if self._lottery is not None:
            tensors |= self._lottery.tensors()
        if self._kept is not None:
            tensors |= self._kept.tensors()
            note["kept"] = None if self._kept.training is None else self._kept.training.facts
        if training is not None:
            tensors |= {f"training/{name}": tensor for name, tensor in training.tensors.items()}
            note["training"] = training.facts
        if len(ledger.rounds) == ledger.round and (ledger.round > 0 or ledger.dense_trained):
            tensors |= {f"program/{name}": tensor for name, tensor in tensors_of(self._method.program).items()}
        self._checkpoints += 1
        path = self._folder / f"checkpoint-{self._checkpoints:06}.safetensors"
        digest = checkpoint.save(Checkpoint(tensors, note), path)
        self._narration.say(Checkpointed(name=path.name, sha256=digest, round=ledger.round))
        self._trainer.saved()

    def _resume(self, saved: Checkpoint) -> None:
        self._method.restore(saved)
        if self._lottery is not None:
            self._lottery.restore(saved)
        if saved.note["training"] is not None:
            self._trainer.state = TrainState(saved.under("training"), saved.note["training"])
        if "kept" in saved.note:
            self._kept = Kept.from_checkpoint(saved, saved.note["kept"])
        restore_tensors(tensors_of(self._method.program), saved.under("program"))
        self._narration.note(f"Attempt {self._order.attempt} went on from a checkpoint in round {self._ledger.round}.")

    def _tell(self, when: str, score: Score, on: str | None = None, **more: Any) -> None:
        self._narration.score(when, self._bench.objective.metric, on or self._bench.reported_on, score, **more)
