from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.digits import export, train_network, write_data
from tests.integration.deployment import Deployment
from tests.integration.digits import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The demo's network, trained once."""
    folder = tmp_path_factory.mktemp("digits")
    export(train_network(0), folder / "model.pt2")
    write_data(folder)
    return Files(folder / "model.pt2", folder / "train.safetensors", folder / "test.safetensors")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """What all tests have in common that leave it, or what `settle` makes of it, as they found it."""
    with Deployment(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def deployment(running: Deployment) -> Deployment:
    """The same, with one worker that waits for work."""
    running.settle()
    return running
