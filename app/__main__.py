"""`python -P -m app`: the HTTP door as a process."""

from __future__ import annotations

import sys

from app.main import create_app
from app.server import Server
from app.settings import Settings
from secateur import logs
from secateur.errors import StackError


def main() -> None:
    """Serve until a signal says to stop."""
    try:
        settings = Settings.load()
    except StackError as error:
        sys.exit(error.message)
    logs.configure()
    Server(create_app(settings), settings).run()


if __name__ == "__main__":
    main()
