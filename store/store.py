"""The record that API and workers share, as one object."""

from __future__ import annotations

from typing import Self

from store.blobs import Blobs
from store.connection import Connection
from store.events import Events
from store.holds import Holds
from store.jobs import Jobs
from store.judge import Judge
from store.leases import Leases
from store.reaper import Reaper
from store.scripts import Scripts
from store.sensitivities import Sensitivities
from store.settings import StoreSettings
from store.uploads import Uploads
from store.wake import Wake
from store.workers import Workers


class Store:
    """Everything that is remembered. It connects when it is first used, and may be shared by threads."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._connection = Connection.open(settings)
        scripts = Scripts(self._connection, settings)
        self.blobs = Blobs(settings.data_dir)
        holds = Holds(self._connection, scripts, settings, self.blobs)
        self.wake = Wake(self._connection, settings)
        self.uploads = Uploads(scripts, self.blobs, holds, self.wake)
        self.jobs = Jobs(scripts, holds, Judge(self.uploads.get), self.wake, settings)
        self.events = Events(self._connection, settings)
        self.leases = Leases(scripts, holds, self.wake)
        self.sensitivities = Sensitivities(self._connection, settings)
        self.workers = Workers(self._connection, settings)
        self.reaper = Reaper(self._connection, scripts, holds, self.blobs, self.jobs, self.wake, settings)

    @classmethod
    def open(cls, settings: StoreSettings) -> Self:
        """The record that the settings name; Redis need not be there yet."""
        return cls(settings)

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        self._connection.ping()

    def close(self) -> None:
        """Let go of all connections."""
        self.wake.close()
        self._connection.close()
