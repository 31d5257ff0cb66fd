"""What routes are handed: the store, the settings, and identifiers whose form was checked."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.requests import Request

from app.settings import Settings
from secateur.errors import NotFound
from secateur.ids import PATTERN
from store.store import Store

EXAMPLE = "_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _path(prefix: str) -> Any:
    """Declares the identifier, form and all; the form is not FastAPI's to judge, as a wrong one is 404 and not 422."""
    return Path(alias="id", json_schema_extra={"pattern": f"^{prefix}_{PATTERN}$", "examples": [prefix + EXAMPLE]})


def _checked(prefix: str, identifier: str) -> str:
    if re.fullmatch(f"{prefix}_{PATTERN}", identifier) is None:
        raise NotFound(f"there is nothing with the id {identifier!r}; such an id looks like {prefix + EXAMPLE}")
    return identifier


async def _model(identifier: Annotated[str, _path("mdl")]) -> str:
    return _checked("mdl", identifier)


async def _dataset(identifier: Annotated[str, _path("dst")]) -> str:
    return _checked("dst", identifier)


async def _job(identifier: Annotated[str, _path("job")]) -> str:
    return _checked("job", identifier)


StoreDep = Annotated[Store, Depends(_store)]
SettingsDep = Annotated[Settings, Depends(_settings)]
ModelPath = Annotated[str, Depends(_model)]
DatasetPath = Annotated[str, Depends(_dataset)]
JobPath = Annotated[str, Depends(_job)]
