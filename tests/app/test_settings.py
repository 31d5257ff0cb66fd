from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import Settings, is_loopback
from secateur.errors import StackError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).key() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.evil.example"])
def test_everything_else_needs_one(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValidationError, match="API key"):
        Settings(host=host)
    assert Settings(host=host, api_key=SecretStr("k")).key() == "k"


def test_the_start_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_HOST", "0.0.0.0")
    with pytest.raises(StackError, match="set an API key"):
        Settings.load()


def test_a_worker_setting_is_no_mistake_and_a_typo_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_DEVICE", "cpu")
    Settings.load()
    monkeypatch.setenv("SECATEUR_PROT", "1")
    with pytest.raises(StackError, match=r"SECATEUR_PROT.*SECATEUR_PORT"):
        Settings.load()


def test_key_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    assert Settings(host="0.0.0.0", api_key_file=file).key() == "secret"


@pytest.mark.parametrize("content", ["", "\n", "two words", "schlüssel"])
def test_unusable_keys(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ValidationError, match="API key"):
        Settings(api_key_file=file)
    with pytest.raises(ValidationError, match="API key"):
        Settings(api_key=SecretStr(content))


def test_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(api_key_file=tmp_path / "none")


def test_the_key_is_not_shown() -> None:
    assert "hidden" not in repr(Settings(api_key=SecretStr("hidden")))
