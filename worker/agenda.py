"""The trainings of a job in their order. Each has an index of its own, which decides the order of its examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from secateur.spec import JobSpec
from secateur.spec.recover import Recover
from secateur.spec.rewinding import LotteryTicket
from secateur.spec.training import Training

DENSE = 0
"""The index of the dense network's training; those of the rounds follow, counted from 1."""

ROUNDS_MAX = 1000
CONTROLS: Mapping[str, int] = {"random_reinit": ROUNDS_MAX, "random_mask": 2 * ROUNDS_MAX}
"""The networks that are trained beside a lottery ticket; each has the index of its round and this."""


TRIALS = 12
"""A search needs fewer steps than this beyond its ladder: halving the largest gap in what is left takes six."""


def round_of(index: int) -> int:
    """The round that a training belongs to."""
    return index % ROUNDS_MAX


@dataclass(frozen=True)
class Session:
    """One training: so many epochs, of which the first stands `before` epochs into the learning rate's curve."""

    index: int
    epochs: int
    before: int = 0


def dense(recover: LotteryTicket) -> Session:
    """The training that the whole network begins with."""
    return Session(DENSE, recover.epochs)


def after_round(recover: Training, number: int, rounds: int) -> Session:
    """The training that follows the pruning of a round."""
    return Session(number, recover.epochs_in(number, rounds), recover.epochs_before)


def trial(recover: Training, number: int, rounds: int) -> Session:
    """The training of a network that a search tries: at most as long as that of a last round."""
    return Session(number, recover.epochs_in(rounds, rounds), recover.epochs_before)


def rounds(recover: Recover, number: int) -> list[Session]:
    """The trainings of all rounds of a job without a search; none where nothing is trained."""
    if not isinstance(recover, Training):
        return []
    return [after_round(recover, each, number) for each in range(1, number + 1)]


def controls(recover: LotteryTicket, number: int, rounds: int) -> dict[str, Session]:
    """What is trained beside the ticket of a round; none where the spec asks for none.

    Values that are drawn anew have been trained for no epoch, so that such a network gets all of them.
    """
    if recover.controls == "none" or (recover.controls == "last_round" and number < rounds):
        return {}
    ticket = after_round(recover, number, rounds)
    return {
        "random_reinit": Session(CONTROLS["random_reinit"] + number, recover.epochs),
        "random_mask": Session(CONTROLS["random_mask"] + number, ticket.epochs, ticket.before),
    }


def sessions(spec: JobSpec) -> Iterator[Session]:
    """All trainings of a job, in order; of a search as many as there can be."""
    recover, rounds = spec.recover, spec.prune.rounds
    if not isinstance(recover, Training):
        return
    ticket = recover if isinstance(recover, LotteryTicket) else None
    if ticket is not None and ticket.trains_dense:
        yield dense(ticket)
    if spec.prune.searches:
        yield from (trial(recover, number, rounds) for number in range(1, rounds + TRIALS + 1))
        return
    for number in range(1, rounds + 1):
        yield after_round(recover, number, rounds)
        if ticket is not None:
            yield from controls(ticket, number, rounds).values()
