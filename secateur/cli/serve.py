"""`secateur up` and `secateur worker`: the processes of this machine."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from secateur.cli.connection import ApiKey, tell

DEFAULT_PORT = 8000

Device = Annotated[str, typer.Option(help="auto, cpu or cuda:N.", envvar="SECATEUR_DEVICE")]


def up(
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535, envvar="SECATEUR_PORT")] = DEFAULT_PORT,
    data: Annotated[Path, typer.Option(help="Where everything is kept.", envvar="SECATEUR_DATA_DIR")] = Path("var"),
    device: Device = "auto",
    api_key: ApiKey = None,
) -> None:
    """Run Redis, the API and one worker on this machine until Ctrl-C."""
    from secateur.errors import StackError
    from secateur.stack import Stack

    signal.signal(signal.SIGTERM, interrupted)
    try:
        with Stack(port=port, data_dir=data, device=device, api_key=api_key) as stack:
            typer.echo(f"Secateur listens on {stack.url}; its documentation: {stack.url}/docs")
            typer.echo(f"Logs: {stack.logs}. Ctrl-C stops everything; what was begun goes on at the next start.")
            typer.echo(
                f"Next: secateur prune MODEL.pt2 --train TRAIN --sparsity 0.9 --original-lr RATE --url {stack.url}\n"
                "or, for a network that is smaller and faster: --granularity unit --target macs --amount 0.5"
            )
            stack.wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except StackError as error:
        tell(error)
        raise typer.Exit(1) from None


def interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends `up` as Ctrl-C does; a second one does not disturb the shutdown."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def worker(device: Device = "auto") -> None:
    """Run one worker process on this machine, for the Redis that SECATEUR_REDIS_URL names."""
    os.environ["SECATEUR_DEVICE"] = device
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "worker"])
