"""The work of one job: prune and fine-tune round by round, then finalize and measure. It knows files, but no Redis.

What is taken away, and how, is the method's business; the rest is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from secateur.errors import Diverged, JobFailed
from secateur.report import Round, finite
from secateur.spec.rewinding import LotteryTicket
from secateur.states import Stage
from worker import agenda, controls, finalize, sensitivity
from worker.kept import Kept
from worker.ledger import Ledger
from worker.methods.method import Method
from worker.narration import Say
from worker.order import Finished, JobOrder
from worker.plan import Budget, Plan, Schedule, Step
from worker.standing import Standing
from worker.trainer import PauseAsked


def run(order: JobOrder, say: Say, pause_asked: Callable[[], bool]) -> Finished | None:
    """Do the job; None when it paused.

    Raises:
        SecateurError: the job cannot be done; the error says why.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        return Pipeline(Standing(order, say, pause_asked)).run()
    except PauseAsked:
        return None


class Pipeline:
    """One attempt at one job, from where it stands."""

    def __init__(self, at: Standing) -> None:
        self._at = at
        self._plan: Plan = Schedule(at.order.spec)

    def run(self) -> Finished:
        """Everything, from where the checkpoint says."""
        at = self._at
        with at.stage(Stage.LOAD):
            at.load()
        self._train_dense()
        sensitivity.find(at)
        with at.stage(Stage.EVALUATE):
            self._evaluate()
        controls.compare(at)
        while (step := self._plan.next(at.ledger.rounds)) is not None:
            self._round(step)
            controls.compare(at)
        return self._finish()

    def _finish(self) -> Finished:
        at, wanted = self._at, self._at.order.spec.wanted
        with at.stage(Stage.FINALIZE):
            dense = at.upload()
            self._evaluate_found()
            at.method.commit(dense)
            recovered = at.score(at.method.program, at.bench.reported)
            if finite(recovered.value) is None:
                raise Diverged(f"The pruned network's {at.bench.objective.metric} is no finite number.")
            artifacts = finalize.write(at.method.program, at.method.masks, wanted, at.folder)
        at.tell("recovered", recovered)
        with at.stage(Stage.MEASURE):
            searched = self._plan.findings(at.ledger.rounds) if isinstance(self._plan, Budget) else None
            report = finalize.report(at.order, at.bench, dense, at.method, at.ledger, recovered, artifacts, searched)
            drawn = finalize.draw(report, wanted, at.folder)
        return Finished(report=report, artifacts=(*artifacts, *drawn))

    def _train_dense(self) -> None:
        at, recover = self._at, self._at.order.spec.recover
        if not isinstance(recover, LotteryTicket) or not recover.trains_dense or at.ledger.dense_trained:
            return
        assert at.lottery is not None
        if at.ledger.initial is None:
            with at.stage(Stage.EVALUATE):
                at.ledger.initial = at.score(at.method.program, at.bench.reported)
            at.tell("initial", at.ledger.initial)
        with at.stage(Stage.TRAIN):
            remember = partial(at.lottery.epoch_ended, at.method.program)
            at.trainer.train(at.method.network, agenda.dense(recover), on_epoch=remember)
            at.ledger.dense_trained = True
        at.save()

    def _evaluate(self) -> None:
        at, ledger, prune = self._at, self._ledger, self._at.order.spec.prune
        if ledger.dense is None:
            ledger.dense = at.score(at.method.program, at.bench.reported)
            if finite(ledger.dense.value) is None:
                raise JobFailed(f"The dense network's {at.bench.objective.metric} is no finite number on the data.")
            at.tell("dense", ledger.dense)
        if prune.measures:
            ledger.pruned = ledger.dense
        elif prune.searches:
            self._plan = self._search()
        elif ledger.one_shot is None:
            self._take_at_once(at.method)

    def _take_at_once(self, method: Method) -> None:
        at = self._at
        with method.at_once() as network:
            at.ledger.one_shot = at.score(network, at.bench.reported)
        at.tell("one_shot", at.ledger.one_shot)

    def _search(self) -> Budget:
        """The plan of a search, and the network that it starts from."""
        at, objective, dense = self._at, self._at.bench.objective, self._at.dense_on_validation()
        if at.kept is None:
            at.kept = Kept.of(at.method, None)
        return Budget(at.order.spec, objective.metric, objective.higher_is_better, dense, at.method.most)

    def _evaluate_found(self) -> None:
        """What a search found, as if it had been asked for: at once, on the upload. Of other jobs it is known."""
        at, ledger = self._at, self._ledger
        if not isinstance(self._plan, Budget):
            return
        at.narration.note(self._plan.told(ledger.rounds))
        found = self._plan.found(ledger.rounds)
        if found is None:
            ledger.one_shot = ledger.pruned = ledger.dense
        elif at.lottery is None or not at.lottery.trains_dense:
            self._take_at_once(at.anew(at.order.spec.prune.taking(found)))

    @property
    def _ledger(self) -> Ledger:
        return self._at.ledger

    def _round(self, step: Step) -> None:
        at = self._at
        if at.ledger.round < step.number:
            with at.stage(Stage.PRUNE, step.number):
                self._prune(step)
        with at.stage(Stage.FINE_TUNE, step.number):
            self._fine_tune(step)
        self._keep_or_undo()
        at.save()

    def _keep_or_undo(self) -> None:
        at, ledger = self._at, self._ledger
        if not ledger.rounds[-1].kept:
            assert at.kept is not None
            at.kept.put_back(at.method)
            at.trainer.state = at.kept.memory
            return
        ledger.pruned, ledger.kept_taken = ledger.round_reported, ledger.round_taken
        if self._plan.searches:
            at.kept = Kept.of(at.method, at.trainer.state)

    def _prune(self, step: Step) -> None:
        at, ledger, number = self._at, self._ledger, step.number
        if step.takes:
            taken = at.method.prune(number, step.amount)
            if at.trainer.state is not None:
                at.trainer.state = at.method.carried(at.trainer.state)
        else:
            taken, ledger.round_reported = ledger.kept_taken, ledger.pruned
        ledger.round, ledger.round_taken = number, taken
        ledger.round_pruned = at.score(at.method.program, at.bench.validation)
        if step.last:
            same = at.bench.reported is at.bench.validation
            ledger.round_reported = ledger.round_pruned if same else at.score(at.method.program, at.bench.reported)
        at.tell("pruned", ledger.round_pruned, "validation", round=number, **taken.model_dump(exclude_none=True))

    def _fine_tune(self, step: Step) -> None:
        at, ledger, number, session = self._at, self._ledger, step.number, step.session
        pruned = ledger.round_pruned
        assert pruned is not None
        recovered, best, epochs, stopped = pruned, 0, 0, False
        if session is not None:
            if at.lottery is not None:
                at.lottery.rewind(at.method)
            before = pruned if at.lottery is None else None
            enough = self._plan.enough if step.takes else None
            outcome = at.trainer.train(at.method.network, session, before, enough=enough)
            recovered, best, epochs = outcome.recovered, outcome.best_epoch, outcome.epochs
            stopped = epochs < session.epochs
        recovered, recalibrated = at.trainer.recalibrate(at.method.program, number, recovered)
        ledger.rounds.append(
            Round(
                round=number,
                sparsity=ledger.round_taken.sparsity,
                units_removed=ledger.round_taken.units_removed,
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
        at.tell("recovered", recovered, "validation", round=number, best_epoch=best)
