"""What the HTTP door can be told from outside, read once at the start."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from store.settings import StoreSettings

GIB = 1 << 30
MIB = 1 << 20
VISIBLE = re.compile(r"[!-~]+")


class Settings(StoreSettings):
    """The door's part of the settings (`SECATEUR_HOST`, `SECATEUR_PORT`, ...) beside those of the store."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    api_key: SecretStr | None = Field(default=None, description="Every request to /v1 needs it as a bearer token.")
    api_key_file: Path | None = Field(
        default=None, validate_default=True, description="A file that holds the key, for container secrets."
    )
    max_model_bytes: int = Field(default=8 * GIB, ge=1)
    max_dataset_bytes: int = Field(default=64 * GIB, ge=1)
    max_spec_bytes: int = Field(default=MIB, ge=1)
    upload_idle_s: float = Field(default=60, gt=0, description="An upload that sends nothing for so long is dropped.")

    @field_validator("api_key_file")
    @classmethod
    def _a_key_where_one_is_needed(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        host, key = info.data.get("host"), _key(info.data.get("api_key"), file)
        if key is not None and not VISIBLE.fullmatch(key):
            raise ValueError("the API key must be one or more visible ASCII characters without spaces")
        if key is None and host is not None and not is_loopback(host):
            raise ValueError(f"host {host!r} can be reached from other machines: set an API key, or its file")
        return file

    def key(self) -> str | None:
        """The API key, from the environment or from its file; None where there is none."""
        return _key(self.api_key, self.api_key_file)


def _key(given: SecretStr | None, file: Path | None) -> str | None:
    if given is not None:
        return given.get_secret_value()
    if file is None:
        return None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the API key file {file} cannot be read: {error}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that binds `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
