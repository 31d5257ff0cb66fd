"""The names of all SECATEUR_* variables, by who reads them. One environment may serve several processes."""

from __future__ import annotations

PREFIX = "SECATEUR_"

KNOWN_TO: dict[str, frozenset[str]] = {
    "app": frozenset(
        {"HOST", "PORT", "API_KEY", "API_KEY_FILE", "MAX_MODEL_BYTES", "MAX_DATASET_BYTES", "MAX_SPEC_BYTES"}
        | {"UPLOAD_IDLE_S"}
    ),
    "worker": frozenset(
        {"DEVICE", "THREADS", "JOB_MEMORY_BYTES", "JOB_FILE_BYTES", "INSPECTION_TIMEOUT_S", "CHECKPOINT_EVERY_S"}
    ),
    "store": frozenset(
        {"REDIS_URL", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "DATA_DIR", "NAMESPACE", "LEASE_S", "MAX_ATTEMPTS"}
        | {"WAKE_AFTER_S", "REAPER_EVERY_S", "IDEMPOTENCY_S", "EVENTS_KEPT"}
    ),
    "client": frozenset({"URL"}),
}


def unknown(names: frozenset[str]) -> list[str]:
    """Those of the names that have the prefix and mean nothing to any process."""
    known = {PREFIX + name for group in KNOWN_TO.values() for name in group}
    return sorted(name for name in names if name.startswith(PREFIX) and name not in known)
