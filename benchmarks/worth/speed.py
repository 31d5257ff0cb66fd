"""How much faster a pruned network is than its dense one."""

from __future__ import annotations

from pathlib import Path

import torch

from secateur.latency import Latency
from worker.program.reader import read
from worker.reports.latency import measure_latency

BATCH = 32
RUNS = 60


def measured(dense: Path, pruned: Path) -> Latency:
    """Batches of 32 on one thread, dense and pruned in turn; kept beside the pruned network's file."""
    kept = pruned.with_suffix(".latency.json")
    if not kept.exists() or kept.stat().st_mtime < pruned.stat().st_mtime:
        torch.set_num_threads(1)
        programs = read(dense), read(pruned)
        latency = measure_latency(*programs, programs[0].example, [BATCH], RUNS, torch.device("cpu"))[0]
        kept.write_text(latency.model_dump_json(), encoding="utf8")
    return Latency.model_validate_json(kept.read_text(encoding="utf8"))
