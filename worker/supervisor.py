"""The supervisor: stands between one child and the record for as long as one claim lasts.

Only it talks to Redis, and every write carries the claim's fence. It renews the lease, passes on what the child says,
and ends the child when the job is cancelled, the lease is lost, or the child speaks of nothing sensible.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from pydantic import BaseModel

from secateur.errors import FenceLost, SecateurError, Unavailable
from store.leases import Claim
from worker.nursery import Child, ChildLost, Nursery
from worker.order import AnyMessage, InspectionOrder, JobOrder

log = structlog.get_logger()

TICK_S = 0.2
PAUSE_S = 60.0
RENEWALS_PER_LEASE = 20  # a cancelled job is told at the next renewal, so this also bounds how long a cancel takes
CHILD_SHARE = 7 / 9  # of the lease: a child that hears nothing ends itself well before anybody else may claim

Handlers = Mapping[type[BaseModel], Callable[[Any], bool]]


class Supervision:
    """One claim, one child.

    `handlers` maps a message's type to what publishes it under the fence and returns whether the claim is settled.
    """

    def __init__(
        self,
        claim: Claim,
        handlers: Handlers,
        lease_s: float,
        stopping: threading.Event,
        timeout_s: float | None = None,
    ) -> None:
        self._claim = claim
        self._handlers = handlers
        self._every_s = lease_s / RENEWALS_PER_LEASE
        self._give_up_s = lease_s * CHILD_SHARE
        self._stopping = stopping
        self._deadline_s = time.monotonic() + timeout_s if timeout_s is not None else float("inf")
        self._pending: deque[AnyMessage] = deque()
        self._confirmed_s = time.monotonic()
        self._tried_s = self._confirmed_s
        self._paused_s: float | None = None

    def run(self, nursery: Nursery, order: JobOrder | InspectionOrder) -> None:
        """Have the order done and settle the claim; nothing is raised, and no process is left."""
        try:
            child = nursery.child(order)
        except ChildLost as error:
            self._settle(self._claim.lost, str(error))
            return
        try:
            self._watch(child)
        except FenceLost:
            log.warning("fence_lost", id=self._claim.id, fence=self._claim.fence)
        except ChildLost as error:
            log.warning("child_lost", id=self._claim.id, attempt=self._claim.attempt, reason=str(error))
            self._settle(self._claim.lost, str(error))
        except SecateurError as error:
            log.warning("failed", id=self._claim.id, code=error.code, message=error.message)
            self._settle(self._claim.fail, error)
        finally:
            child.kill()

    def _watch(self, child: Child) -> None:
        lost: ChildLost | None = None
        while True:
            if lost is None:
                try:
                    self._hear(child)
                except ChildLost as error:
                    lost = error
            if self._publish():
                return
            if lost is not None and not self._pending:
                raise lost
            if self._renew(child):
                child.kill()
                self._claim.cancelled()
                return
            self._mind_the_clock(child)

    def _hear(self, child: Child) -> None:
        for message in child.messages(0 if self._pending else TICK_S):
            if self._pending and message.type == self._pending[-1].type == "progress":
                self._pending.pop()  # of progress only the newest matters, also while Redis is away
            self._pending.append(message)

    def _publish(self) -> bool:
        while self._pending:
            message = self._pending[0]
            try:
                settled = self._handlers[type(message)](message)
            except Unavailable:
                time.sleep(TICK_S)
                return False
            except KeyError as error:
                raise ChildLost(f"the process spoke of {message.type} out of turn") from error
            self._pending.popleft()
            if settled:
                return True
        return False

    def _renew(self, child: Child) -> bool:
        """Renew when it is time; whether the job was cancelled."""
        now = time.monotonic()
        if now - self._tried_s < self._every_s:
            return False
        self._tried_s = now
        try:
            standing = self._claim.renew()
        except Unavailable:
            if now - self._confirmed_s > self._give_up_s:
                raise FenceLost() from None
            return False
        self._confirmed_s = now
        child.renewed(now)
        return standing.cancel_requested

    def _mind_the_clock(self, child: Child) -> None:
        now = time.monotonic()
        if now > self._deadline_s:
            raise SecateurError("This took longer than the server allows.")
        if self._stopping.is_set() and self._paused_s is None:
            self._paused_s = now
            child.pause()
        if self._paused_s is not None and now - self._paused_s > PAUSE_S:
            child.kill()
            raise ChildLost("the process did not pause in time")

    def _settle(self, write: Callable[[Any], None], reason: Any) -> None:
        try:
            write(reason)
        except (FenceLost, Unavailable) as error:
            log.warning("left_to_the_reaper", id=self._claim.id, reason=error.code)
