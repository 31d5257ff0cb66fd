"""What can be set about the record, by SECATEUR_* variables; the API's and the worker's settings add theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from secateur.errors import StackError
from secateur.variables import PREFIX, unknown


class StoreSettings(BaseSettings):
    """Where the record is, and the times that its protocol runs on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=False)

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="redis:// or rediss://, with the database.")
    redis_password: SecretStr | None = Field(default=None, description="Of the Redis server.")
    redis_password_file: Path | None = Field(default=None, description="A file that holds the password of Redis.")
    data_dir: Path = Field(default=Path("var"), description="The folder that API and workers share.")
    namespace: str = Field(default="secateur", pattern="^[A-Za-z0-9_.-]{1,64}$", description="Begins every key.")
    lease_s: float = Field(default=45.0, gt=0, le=3600, description="A worker that is silent for so long is dead.")
    max_attempts: int = Field(default=3, ge=1, le=100, description="A job whose worker died so often has failed.")
    wake_after_s: float = Field(default=30.0, gt=0, le=3600, description="When a job that nobody took is called again.")
    reaper_every_s: float = Field(default=5.0, gt=0, le=3600, description="How often every process looks for the dead.")
    idempotency_s: float = Field(default=86_400.0, gt=0, description="How long an Idempotency-Key is remembered.")
    events_kept: int = Field(default=10_000, ge=100, description="About so many of a job's newest events are kept.")

    @field_validator("redis_url")
    @classmethod
    def _a_redis_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
            raise ValueError("give redis://HOST:PORT/DATABASE or rediss://...")
        return url

    @classmethod
    def load(cls) -> Self:
        """The settings that the environment holds.

        Raises:
            StackError: A variable is unknown or cannot be used; all of these are named, and what can be set.
        """
        problems = [f"{name} is not known" for name in unknown(frozenset(os.environ))]
        try:
            settings = cls()
        except ValidationError as error:
            problems += [f"{PREFIX}{'_'.join(map(str, at['loc'])).upper()}: {at['msg']}" for at in error.errors()]
        if problems:
            good = ", ".join(sorted(PREFIX + field.upper() for field in cls.model_fields))
            raise StackError(f"The settings cannot be used: {'; '.join(problems)}. What can be set: {good}.")
        return settings

    @property
    def redis_location(self) -> str:
        """The URL with the password in it: for clients, never for logs.

        Raises:
            StackError: The password's file cannot be read.
        """
        password = self._password()
        if password is None:
            return self.redis_url
        parts = urlsplit(self.redis_url)
        user = quote(parts.username or "", safe="")
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))

    def _password(self) -> str | None:
        if self.redis_password is not None:
            return self.redis_password.get_secret_value()
        if self.redis_password_file is None:
            return None
        try:
            return self.redis_password_file.read_text().strip()
        except OSError as error:
            raise StackError(
                f"The password of Redis cannot be read from {self.redis_password_file}: {error}"
            ) from error
