"""What the spec says to what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.examples import SPEC
from secateur.spec import JobSpec
from secateur.spec.location import location


def problems(**fields: Any) -> list[tuple[str, str]]:
    """Where what is wrong with the example's spec, once it has these fields, and the message."""
    spec = {**SPEC, **fields}
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(spec)
    return [(".".join(map(str, location(each["loc"], spec))), each["msg"]) for each in refused.value.errors()]
