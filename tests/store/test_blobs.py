from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.blobs import Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "var")


def files(blobs: Blobs, tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "var").rglob("*") if path.is_file()]


@given(chunks=st.lists(st.binary(max_size=50), max_size=5))
def test_a_blob_is_what_was_written(chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    blobs = Blobs(tmp_path_factory.mktemp("blobs"))
    whole = b"".join(chunks)
    with blobs.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        assert not blobs.exists(writer.sha256)
        blob = writer.commit()
    assert (blob.sha256, blob.size_bytes) == (hashlib.sha256(whole).hexdigest(), len(whole))
    assert blobs.path(blob.sha256).read_bytes() == whole


def test_an_abandoned_writer_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.writer() as writer:
        writer.write(b"half")
    assert files(blobs, tmp_path) == []


def test_the_same_bytes_are_one_file(blobs: Blobs, tmp_path: Path) -> None:
    for _ in range(2):
        with blobs.writer() as writer:
            writer.write(b"same")
            writer.commit()
    assert len(files(blobs, tmp_path)) == 1


def test_a_file_can_be_adopted_again_and_keeps_its_name(blobs: Blobs, tmp_path: Path) -> None:
    made = tmp_path / "var" / "model.pt2"
    made.write_bytes(b"artifact")
    first = blobs.adopt(made)
    assert blobs.adopt(made) == first
    assert made.read_bytes() == blobs.path(first.sha256).read_bytes() == b"artifact"
    assert len(files(blobs, tmp_path)) == 2


def test_only_plain_files_are_adopted(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (tmp_path / "var" / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "var" / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError):  # noqa: PT011
            blobs.adopt(tmp_path / "var" / name)
    assert [path.name for path in files(blobs, tmp_path)] == ["link"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63])
def test_only_digests_name_blobs(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        blobs.path(name)


def test_a_sweep_takes_only_what_has_been_left(blobs: Blobs) -> None:
    old, new = blobs.temporary(), blobs.temporary()
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 100, time.time() - 100))
    blobs.sweep(older_s=50)
    assert (old.exists(), new.exists()) == (False, True)
