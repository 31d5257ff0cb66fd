"""How one claim is settled, whatever the child, the disk and Redis do meanwhile."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from secateur.errors import FenceLost, SecateurError, Unavailable
from store.leases import Claim, Standing
from worker.nursery import Child, ChildLost, Nursery
from worker.order import AnyMessage, JobOrder, Noted, Started
from worker.supervisor import Handlers, Supervision

LEASE_S = 1.0


class FakeClaim:
    """A claim that writes down what is asked of it, and is away as often as it is told."""

    id, attempt, fence = "job_x", 1, 7

    def __init__(self) -> None:
        self.claimed_at_s = time.monotonic()
        self.settled: list[tuple[str, str]] = []
        self.renewals = 0
        self.cancel = False
        self.gone = False
        self.away = 0

    def renew(self) -> Standing:
        if self.gone:
            raise FenceLost
        self.renewals += 1
        return Standing(cancel_requested=self.cancel)

    def _settle(self, how: str, why: str = "") -> None:
        if self.away:
            self.away -= 1
            raise Unavailable
        self.settled.append((how, why))

    def cancelled(self) -> None:
        self._settle("cancelled")

    def release(self) -> None:
        self._settle("released")

    def lost(self, reason: str) -> None:
        self._settle("lost", reason)

    def fail(self, error: SecateurError) -> None:
        self._settle("failed", error.code)


class FakeChild:
    """A child that says what it is given, then stays silent until it is killed."""

    def __init__(self, *says: AnyMessage | Exception) -> None:
        self.says = list(says)
        self.killed = False
        self.renewed_at: list[float] = []
        self.paused = False

    def messages(self, timeout_s: float) -> Iterator[AnyMessage]:
        if not self.says:
            time.sleep(min(timeout_s, 0.02))
            return
        said = self.says.pop(0)
        if isinstance(said, Exception):
            raise said
        yield said

    def renewed(self, asked_at_s: float) -> None:
        self.renewed_at.append(asked_at_s)

    def pause(self) -> None:
        self.paused = True

    def kill(self) -> None:
        self.killed = True


def supervise(
    claim: FakeClaim,
    child: FakeChild,
    handlers: Handlers | None = None,
    stopping: threading.Event | None = None,
    order: Callable[[float], Any] = lambda _: None,
    **settings: float,
) -> FakeChild:
    class FakeNursery:
        def child(self, order: JobOrder) -> Child:
            return cast(Child, child)

        def wait_ready(self) -> bool:
            return True

    known = {Started: lambda _: False} | dict(handlers or {})
    supervision = Supervision(
        cast(Claim, claim), known, LEASE_S, stopping or threading.Event(), **{"pause_s": 0.1, **settings}
    )
    supervision.run(cast(Nursery, FakeNursery()), order)
    assert child.killed
    return child


def away(times: int, answer: Any = None) -> Callable[..., Any]:
    """Redis is away for so many calls."""
    left = [times]

    def call(*_: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise Unavailable
        return answer

    return call


def test_a_blip_of_redis_fails_nothing() -> None:
    claim = FakeClaim()
    supervise(claim, FakeChild(Started(), Noted(message="x")), {Noted: away(2, True)}, order=away(2))
    assert claim.settled == []


def test_a_cancel_is_told_again_until_redis_hears_it() -> None:
    claim = FakeClaim()
    claim.cancel, claim.away = True, 2
    supervise(claim, FakeChild(Started()))
    assert claim.settled == [("cancelled", "")]


def test_a_lost_child_is_lost_and_what_it_said_before_counts() -> None:
    claim, heard = FakeClaim(), []
    supervise(claim, FakeChild(Noted(message="last words"), ChildLost("it died")), {Noted: lambda m: heard.append(m)})
    assert claim.settled == [("lost", "it died")]
    assert [message.message for message in heard] == ["last words"]


def test_a_message_out_of_turn_is_nonsense() -> None:
    claim = FakeClaim()
    supervise(claim, FakeChild(Noted(message="an inspection has no notes")))
    assert claim.settled == [("lost", "the process spoke of note out of turn")]


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(errno.ENOSPC, "full"), "no_space"), (OSError(errno.EIO, "broken"), "internal")]
)
def test_a_disk_that_fails_has_a_code(error: OSError, code: str) -> None:
    def handler(_: Noted) -> bool:
        raise error

    claim = FakeClaim()
    supervise(claim, FakeChild(Noted(message="x")), {Noted: handler})
    assert claim.settled == [("failed", code)]


def test_a_bug_in_a_handler_is_no_nonsense_of_the_child() -> None:
    def handler(_: Noted) -> bool:
        raise KeyError("a bug")

    claim = FakeClaim()
    supervise(claim, FakeChild(Noted(message="x")), {Noted: handler})
    assert claim.settled == [("failed", "internal")]


def test_renewing_does_not_wait_for_a_slow_handler() -> None:
    claim = FakeClaim()

    def handler(_: Noted) -> bool:
        time.sleep(1.5 * LEASE_S)
        return True

    child = supervise(claim, FakeChild(Noted(message="x")), {Noted: handler})
    assert claim.renewals >= 10
    assert len(child.renewed_at) == claim.renewals


def test_nothing_is_written_when_another_attempt_owns_the_claim() -> None:
    claim = FakeClaim()
    claim.gone = True
    supervise(claim, FakeChild(Started()))
    assert claim.settled == []


def test_a_handler_that_lost_the_fence_settles_nothing() -> None:
    def handler(_: Noted) -> bool:
        raise FenceLost

    claim = FakeClaim()
    supervise(claim, FakeChild(Noted(message="x")), {Noted: handler})
    assert claim.settled == []


def test_a_worker_that_stops_gives_the_claim_back_when_no_pause_comes() -> None:
    claim, stopping = FakeClaim(), threading.Event()
    stopping.set()
    child = supervise(claim, FakeChild(Started()), stopping=stopping)
    assert child.paused
    assert claim.settled == [("released", "")]


def test_what_takes_too_long_says_so() -> None:
    claim = FakeClaim()
    supervise(claim, FakeChild(Started()), timeout_s=0.1)
    assert claim.settled == [("failed", "timed_out")]


def test_a_redis_that_stays_away_is_left_to_the_reaper_before_the_lease_ends() -> None:
    claim = FakeClaim()
    claim.renew = away(10_000)  # type: ignore[method-assign]
    started = time.monotonic()
    supervise(claim, FakeChild(Started()))
    assert claim.settled == []
    assert time.monotonic() - started < LEASE_S


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lease_that_fails_in_an_unknown_way_counts_as_lost() -> None:
    def broken() -> Standing:
        raise RuntimeError("no permission")

    claim = FakeClaim()
    claim.renew = broken  # type: ignore[method-assign]
    supervise(claim, FakeChild(Started()))
    assert claim.settled == []
