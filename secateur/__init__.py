"""Secateur: prune a trained network, retrain it, measure it, prove it.

`Client` speaks to a server, `JobSpec` says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.client import ApiError, Client, Result
    from secateur.spec import JobSpec

__all__ = ["ApiError", "Client", "JobSpec", "Result"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: the API and the workers need no HTTP client."""
    if name == "JobSpec":
        from secateur.spec import JobSpec

        return JobSpec
    if name in __all__:
        from secateur import client

        return getattr(client, name)
    raise AttributeError(f"module 'secateur' has no attribute {name!r}")
