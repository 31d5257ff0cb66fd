from __future__ import annotations

from pathlib import Path

import pytest

from secateur.errors import StackError
from store.settings import StoreSettings


class DoorSettings(StoreSettings):
    port: int = 8000


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_LEASE_S", "7.5")
    monkeypatch.setenv("SECATEUR_PORT", "9")
    monkeypatch.setenv("SECATEUR_DEVICE", "cpu")
    settings = DoorSettings.load()
    assert (settings.lease_s, settings.port) == (7.5, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECATEUR_LEASES", "1"),
        ("SECATEUR_LEASE_S", "0"),
        ("SECATEUR_LEASE_S", "nan"),
        ("SECATEUR_MAX_ATTEMPTS", "many"),
        ("SECATEUR_REDIS_URL", "http://127.0.0.1"),
        ("SECATEUR_NAMESPACE", "a:b"),
    ],
)
def test_bad_variables_stop_the_start_and_the_good_ones_are_listed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StackError, match=name) as stopped:
        DoorSettings.load()
    assert "SECATEUR_PORT" in stopped.value.message


def test_the_password_is_put_into_the_location_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p/@:word\n")
    for settings in (
        StoreSettings(redis_url="redis://host:1/2", redis_password_file=file),
        StoreSettings(redis_url="redis://host:1/2", redis_password="p/@:word"),
    ):
        assert settings.redis_location == "redis://:p%2F%40%3Aword@host:1/2"
        assert "word" not in settings.redis_url + repr(settings).replace("redis_password_file", "")[:-1].replace(
            "password", ""
        )


def test_a_password_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="nowhere"):
        StoreSettings(redis_password_file=tmp_path / "nowhere").redis_location  # noqa: B018
