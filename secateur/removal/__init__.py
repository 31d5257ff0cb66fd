"""Which units go: the same selection in the worker, which has tensors, and at the door, which has only scores."""

from __future__ import annotations

from secateur.removal.counts import count_macs, count_parameters, kept_per_part
from secateur.removal.groups import choose_groups
from secateur.removal.prices import priced
from secateur.removal.select import TOLERANCE, may_go, require_reachable, select, share_gone

__all__ = [
    "TOLERANCE",
    "choose_groups",
    "count_macs",
    "count_parameters",
    "kept_per_part",
    "may_go",
    "priced",
    "require_reachable",
    "select",
    "share_gone",
]
