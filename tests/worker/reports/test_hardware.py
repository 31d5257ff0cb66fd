"""The description of the machine is complete, serializable, and does not say whose it is."""

from __future__ import annotations

import json
import platform

import torch

from worker.reports.hardware import hardware, versions


def test_the_machine_is_described_without_its_name() -> None:
    found = {**hardware(torch.device("cpu")), **versions()}
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert int(found["cores"]) >= 1
    assert int(found["memory_bytes"]) > 1 << 28
    assert found["cpu"]
    assert platform.node() not in json.dumps(found)
