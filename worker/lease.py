"""Keeping a lease alive beside the work: renewing must not wait for hashing, for a slow disk or for a child."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from secateur.errors import FenceLost, Unavailable
from store.leases import Claim

log = structlog.get_logger()

RENEWALS_PER_LEASE = 20  # a cancelled job is told at the next renewal, so this also bounds how long a cancel takes
CHILD_SHARE = 7 / 9  # of the lease: a child that hears nothing ends itself well before anybody else may claim


class Lease(threading.Thread):
    """Renews a claim until it is stopped; `on_confirmed` hears when each confirmed renewal was asked for.

    `cancel_asked` is set when somebody wants the job to end, `lost` when the claim can no longer be relied on: another
    attempt owns it, or no renewal was confirmed for CHILD_SHARE of a lease.
    """

    def __init__(self, claim: Claim, lease_s: float, on_confirmed: Callable[[float], None]) -> None:
        super().__init__(name=f"lease-{claim.id}", daemon=True)
        self.cancel_asked = threading.Event()
        self.lost = threading.Event()
        self._claim = claim
        self._every_s = lease_s / RENEWALS_PER_LEASE
        self._horizon_s = lease_s * CHILD_SHARE
        self.confirmed_s = claim.claimed_at_s
        self._on_confirmed = on_confirmed
        self._stopped = threading.Event()

    @property
    def holds(self) -> bool:
        """Whether nobody else can have claimed the record yet."""
        return not self.lost.is_set() and time.monotonic() - self.confirmed_s < self._horizon_s

    def run(self) -> None:
        """Renew until stopped or lost."""
        try:
            while not self._stopped.wait(self._every_s) and self._renew():
                pass
        finally:
            if not self._stopped.is_set():
                self.lost.set()

    def _renew(self) -> bool:
        """Whether to go on."""
        asked_s = time.monotonic()
        try:
            standing = self._claim.renew()
        except FenceLost:
            return False
        except Unavailable as error:
            log.warning("renewal_failed", id=self._claim.id, reason=error.message)
            return self.holds
        self.confirmed_s = asked_s
        self._on_confirmed(asked_s)
        if standing.cancel_requested:
            self.cancel_asked.set()
        return True

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()
        if self.is_alive():
            self.join()
