"""What was found out about how much the layers of a network matter, for jobs to come."""

from __future__ import annotations

from secateur.sensitivity import Sensitivity
from store.connection import Connection
from store.settings import StoreSettings

KEPT_S = 30 * 86_400


class Sensitivities:
    """By a digest of all that the curves follow from; what nobody asks for is forgotten after KEPT_S."""

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._prefix = f"{settings.namespace}:sensitivity:"

    def get(self, digest: str) -> Sensitivity | None:
        """What is known, which is then kept as long again. Raises Unavailable."""
        found = self._connection.getex(self._prefix + digest, ex=KEPT_S)
        return None if found is None else Sensitivity.model_validate_json(found)

    def put(self, digest: str, found: Sensitivity) -> None:
        """Keep it. Raises Unavailable."""
        self._connection.set(self._prefix + digest, found.model_dump_json(), ex=KEPT_S)
