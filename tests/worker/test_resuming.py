"""Whatever trains a network back: a job that goes on from a checkpoint ends with the bytes of an undisturbed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.worker.jobs import checkpoints, digests, order, run
from tests.worker.test_combinations import COMMON, RECOVER, case

SCHEDULE = {"kind": "iterative", "rounds": 2}
PRUNE: dict[str, dict[str, Any]] = {
    "weights": {"importance": {"kind": "taylor"}, "target": {"kind": "sparsity", "amount": 0.5}},
    "units": {"granularity": "unit", "importance": {"kind": "taylor"}, "target": {"kind": "macs", "amount": 0.3}},
}


@pytest.mark.parametrize("what", PRUNE)
@pytest.mark.parametrize("kind", COMMON["recover"])
def test_every_kind_of_recovery_resumes_with_equal_digests(kind: str, what: str, tmp_path: Path) -> None:
    recover = RECOVER[kind]
    fields = {"prune": PRUNE[what] | {"schedule": SCHEDULE}, "recover": recover, "finalize": {"latency": None}}
    whole = order(tmp_path, case(), spec=fields, checkpoint_every_s=1e-6)
    kept = checkpoints(whole, tmp_path)
    assert len(kept) >= 2
    for path, digest in {kept[len(kept) // 3], kept[-1]}:
        resumed = order(tmp_path, case(), spec=fields, checkpoint=str(path), checkpoint_sha256=digest, attempt=2)
        report = run(resumed).report
        assert digests(resumed) == digests(whole)
        assert any("went on from a checkpoint" in note for note in report.notes)
