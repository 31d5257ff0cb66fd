"""What is taken away, in which order, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from secateur.spec.structured import PruneUnits
from secateur.spec.weights import PruneWeights


def _weights_by_default(value: Any) -> Any:
    return {"granularity": "weight", **value} if isinstance(value, Mapping) else value


Prune = Annotated[PruneWeights | PruneUnits, Field(discriminator="granularity"), BeforeValidator(_weights_by_default)]
