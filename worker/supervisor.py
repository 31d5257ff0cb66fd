"""The supervisor: stands between one child and the record for as long as one claim lasts.

Only it talks to Redis, and every write carries the claim's fence. It passes on what the child says, and ends the child
when the job is cancelled, the lease is lost, or the child speaks of nothing sensible.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

from secateur.errors import FenceLost, SecateurError, TookTooLong, Unavailable
from store.leases import Claim
from worker.lease import Lease
from worker.nursery import Child, ChildLost, Nursery
from worker.order import AnyMessage, InspectionOrder, JobOrder
from worker.sandbox import disk_error

log = structlog.get_logger()

TICK_S = 0.2
MOST_PENDING = 1000

Result = TypeVar("Result")
OrderMaker = Callable[[float], JobOrder | InspectionOrder]
Handlers = Mapping[type[BaseModel], Callable[[Any], bool]]


class Stopped(Exception):
    """The worker stops before the work is done; the claim goes back unburned."""


class Supervision:
    """One claim, one child.

    `handlers` maps a message's type to what publishes it under the fence and says whether the claim is settled; one may
    be called again with the same message when Redis was away. When the worker stops, the child has `pause_s` seconds to
    take a last checkpoint.
    """

    def __init__(
        self,
        claim: Claim,
        handlers: Handlers,
        lease_s: float,
        stopping: threading.Event,
        *,
        pause_s: float,
        timeout_s: float = float("inf"),
    ) -> None:
        self._claim = claim
        self._handlers = handlers
        self._stopping = stopping
        self._pause_s = pause_s
        self._deadline_s = time.monotonic() + timeout_s
        self._pending: deque[AnyMessage] = deque()
        self._paused_s: float | None = None
        self._child: Child | None = None
        self._lease = Lease(claim, lease_s, self._confirmed)

    def run(self, nursery: Nursery, order: OrderMaker) -> None:
        """Have the order done and settle the claim; nothing is raised, and no process is left.

        `order` makes the order, from when the lease was last renewed.
        """
        self._lease.start()
        try:
            settle = self._outcome(nursery, order)
            self._end_child()
            if settle is not None:
                self._patiently(settle)
        except FenceLost:
            log.warning("fence_lost", id=self._claim.id, fence=self._claim.fence)
        finally:
            self._end_child()
            self._lease.stop()

    def _outcome(self, nursery: Nursery, order: OrderMaker) -> Callable[[], None] | None:
        """Do the work; how the claim is still to be settled, None where a handler has done it."""
        claim = self._claim
        try:
            nursery.wait_ready()
            self._child = nursery.child(self._patiently(lambda: order(self._lease.confirmed_s)))
            return claim.cancelled if self._watch(self._child) else None
        except FenceLost:
            raise
        except Stopped:
            return claim.release
        except ChildLost as error:
            reason = str(error)
            return lambda: claim.lost(reason)
        except SecateurError as error:
            failure: SecateurError = error
        except OSError as error:
            log.exception("disk_failed", id=claim.id)
            failure = disk_error(error)
        except Exception:
            log.exception("supervision_failed", id=claim.id)
            failure = SecateurError()
        log.warning("failed", id=claim.id, code=failure.code, reason=failure.message)
        return lambda: claim.fail(failure)

    def _watch(self, child: Child) -> bool:
        """Until the claim is settled (False) or the job was cancelled (True)."""
        lost: ChildLost | None = None
        while not self._lease.cancel_asked.is_set():
            if lost is None and len(self._pending) < MOST_PENDING:
                try:
                    self._hear(child)
                except ChildLost as error:
                    lost = error
            if self._publish():
                return False
            if lost is not None and not self._pending:
                raise lost
            if not self._lease.holds:
                raise FenceLost
            self._mind_the_clock(child)
        return True

    def _hear(self, child: Child) -> None:
        for message in child.messages(0 if self._pending else TICK_S):
            if len(self._pending) > 1 and message.type == self._pending[-1].type == "progress":
                self._pending.pop()  # of progress only the newest matters; the first in line may be half written
            self._pending.append(message)

    def _publish(self) -> bool:
        while self._pending:
            message = self._pending[0]
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ChildLost(f"the process spoke of {message.type} out of turn")
            try:
                settled = handler(message)
            except Unavailable:
                time.sleep(TICK_S)
                return False
            self._pending.popleft()
            if settled:
                return True
        return False

    def _mind_the_clock(self, child: Child) -> None:
        now = time.monotonic()
        if now > self._deadline_s:
            raise TookTooLong
        if not self._stopping.is_set():
            return
        if self._paused_s is None:
            self._paused_s = now
            child.pause()
        if now - self._paused_s >= self._pause_s:
            raise Stopped

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """The answer, also when Redis is away for a moment; FenceLost when it is for longer than the lease allows."""
        while True:
            try:
                return ask()
            except Unavailable:
                if not self._lease.holds:
                    raise FenceLost from None
                time.sleep(TICK_S)

    def _confirmed(self, asked_s: float) -> None:
        if self._child is not None:
            self._child.renewed(asked_s)

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
