"""What a lottery ticket is compared with: networks of as many weights, trained as long, on which nothing is chosen."""

from __future__ import annotations

from secateur.report import Ticket, finite
from secateur.spec.rewinding import LotteryTicket
from secateur.states import Stage
from worker import agenda
from worker.recovery.objective import Score
from worker.standing import Standing


def compare(at: Standing) -> None:
    """Train what the newest ticket is to be compared with, and is not compared with yet."""
    recover, number, lottery = at.order.spec.recover, len(at.ledger.rounds), at.lottery
    if not isinstance(recover, LotteryTicket) or lottery is None or number == 0:
        return
    for name, session in agenda.controls(recover, number, at.order.spec.prune.rounds).items():
        known = at.ledger.rounds[-1].ticket
        if known is not None and getattr(known, name) is not None:
            continue
        with at.stage(Stage.CONTROL, number):
            known = known or _ticket(at, number)
            network = lottery.control(name, at.method, session.index)
            at.trainer.train(network, session)
            score = at.score(network.program, at.bench.reported)
        at.trainer.state = None
        _told(at, known, name, score)
        at.save()


def _ticket(at: Standing, number: int) -> Ticket:
    score = at.score(at.method.program, at.bench.reported)
    at.tell("ticket", score, round=number)
    return Ticket(ticket=finite(score.value))


def _told(at: Standing, known: Ticket, name: str, score: Score) -> None:
    rounds = at.ledger.rounds
    at.tell(name, score, round=len(rounds))
    grown = known.model_copy(update={name: finite(score.value)})
    rounds[-1] = rounds[-1].model_copy(update={"ticket": grown})
