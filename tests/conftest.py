"""Fixtures that every part needs: a real Redis for the whole run, and an empty record in it for each test."""

from __future__ import annotations

import gc
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from secateur.redis_server import RedisServer
from store.settings import StoreSettings
from store.store import Store

# A shell starts what runs in its background with SIGINT ignored, and processes hand that on: tests of Ctrl-C would wait
# for ever. A signal that has a handler is handed on as the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What torch remembers of the shapes that operators give pays where a network repeats itself. The small ones of the
# tests do not: each export of them would take a quarter longer. Torch, also that of a child, is imported later.
os.environ.setdefault("TORCH_FAKE_TENSOR_DISPATCH_CACHE", "0")

# Two processes run tests, on two cores: threads of each would only get into the way of the other's. What a job is given
# it sets itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")


FAMILIES = ("tests/worker/pruning/structured/",)
"""Folders whose tests look at the same networks, which take longer to make than to look at."""


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One embedded Redis for all tests of the run."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def store_settings(redis_server: RedisServer, tmp_path: Path) -> StoreSettings:
    """Settings with a namespace and a data folder of the test's own."""
    return StoreSettings(redis_url=redis_server.url, namespace=secrets.token_hex(8), data_dir=tmp_path / "var")


@pytest.fixture
def store(store_settings: StoreSettings) -> Iterator[Store]:
    """An empty record."""
    store = Store.open(store_settings)
    yield store
    store.close()


def pytest_collection_finish() -> None:
    """What has been imported stays: it need not be looked through each time that memory is tidied up."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With `--dist loadfile` also the files of a folder whose tests have networks in common go to one process."""
    return ByFamily(config, log) if config.getvalue("dist") == "loadfile" else None


class ByFamily(LoadFileScheduling):
    """A file is run by one process, and so is a family of files."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((family for family in FAMILIES if file.startswith(family)), file)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was not run, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("not run here")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"{report.nodeid}: {reason}")
