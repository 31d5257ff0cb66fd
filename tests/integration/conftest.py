from __future__ import annotations

import pytest

from examples.digits import export, train_network, write_data
from tests.integration.digits import Files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The demo's network, trained once."""
    folder = tmp_path_factory.mktemp("digits")
    export(train_network(0), folder / "model.pt2")
    write_data(folder)
    return Files(folder / "model.pt2", folder / "train.safetensors", folder / "test.safetensors")
