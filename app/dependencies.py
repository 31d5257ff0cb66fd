"""What routes are handed: the store, the settings, and identifiers whose form was checked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request
from store.store import Store

from app.settings import Settings
from secateur.errors import NotFound
from secateur.ids import PATTERN


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _identifier(prefix: str) -> Callable[[str], Awaitable[str]]:
    pattern = f"{prefix}_{PATTERN}"
    example = f"{prefix}_01JD8Y6Z5T3V9K2M4N6P8Q0R2S"
    declared = Path(alias="id", json_schema_extra={"pattern": f"^{pattern}$", "examples": [example]})

    async def check(id: Annotated[str, declared]) -> str:  # noqa: A002  # the name in the path
        if re.fullmatch(pattern, id) is None:
            raise NotFound(f"there is nothing with the id {id!r}; ids of this kind look like {example}")
        return id

    return check


StoreDep = Annotated[Store, Depends(_store)]
SettingsDep = Annotated[Settings, Depends(_settings)]
ModelPath = Annotated[str, Depends(_identifier("mdl"))]
DatasetPath = Annotated[str, Depends(_identifier("dst"))]
JobPath = Annotated[str, Depends(_identifier("job"))]
