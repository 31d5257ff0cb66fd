"""The quickstart of the README, run word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.deployment import Deployment

pytestmark = pytest.mark.integration

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"<!-- quickstart: (?P<name>\S+) -->\n```\w+\n(?P<body>.*?)```", re.DOTALL)


def test_the_quickstart_does_what_it_says(deployment: Deployment, tmp_path: Path) -> None:
    blocks = {match["name"]: match["body"] for match in BLOCK.finditer(README.read_text())}
    assert list(blocks) == ["export.py", "curl.sh", "load.py"]
    for name, body in blocks.items():
        (tmp_path / name).write_text(body)

    # Two threads would wait for each other where something else keeps a core busy.
    environment = os.environ | {"SECATEUR_URL": deployment.url, "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "export.py")
    watched = run("bash", "-euo", "pipefail", "curl.sh")
    loaded = run(sys.executable, "load.py")

    assert '"succeeded"' in watched
    facts = dict(line.split(": ") for line in loaded.splitlines())
    total = 32 * 9 + 64 * 32 * 9 + 64 * 16 * 128 + 128 * 10
    assert int(facts["zeros"]) >= round(0.9 * total)
    assert float(facts["accuracy"]) > 0.9
