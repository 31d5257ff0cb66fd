"""What the sensitivity of a network follows from, as one digest: jobs that agree in it need not measure it twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version

from secateur.spec import JobSpec
from secateur.spec.data import by_content

OF_PRUNE = ("granularity", "importance", "layers")
PACKAGES = ("secateur", "torch")


def of_sensitivity(
    spec: JobSpec, model_sha256: str, data_sha256: Mapping[str, str], device: str, threads: int
) -> str | None:
    """SHA-256 of all that decides; None where the job measures a network that only it has, or none at all.

    Test data, target and recovery are not in it, but for the size of batches, on which an importance may rest.
    """
    recover = spec.recover
    if not spec.prune.needs_sensitivity or spec.trains_dense:
        return None
    data = spec.data.model_dump(mode="json", exclude={"test"})
    prune = spec.prune.model_dump(mode="json")
    facts = {
        "model": model_sha256,
        "data": by_content(data, data_sha256),
        "task": spec.task.model_dump(mode="json"),
        "prune": {name: prune[name] for name in OF_PRUNE},
        "amounts": spec.prune.probed,
        "batch_size": getattr(recover, "batch_size", None),
        "seed": spec.seed,
        "device": device,
        "threads": threads,
        "versions": {package: version(package) for package in PACKAGES},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
