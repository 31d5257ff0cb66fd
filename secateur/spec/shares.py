"""Fields that several parts of a spec have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

Amount = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False, description="The share taken away, 0 <= amount < 1.")]
Glob = Annotated[str, Field(min_length=1, max_length=256, description="fnmatch pattern on full parameter names.")]


def kind_of(value: Any) -> Any:
    """The `kind` of a part of a spec that is not validated yet; None where it has none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None
