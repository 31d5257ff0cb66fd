"""The zip of a stranger: members by an allow-list, stored, once each, and no more than the file can hold."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from secateur.errors import BadModel, CorruptArchive, UnsafeArchive
from tests.worker.program.attacks import clean, rewrite
from worker.program import archive
from worker.program.archive import Archive
from worker.program.reader import read


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean(tmp_path_factory.mktemp("good") / "good.pt2")


@pytest.mark.parametrize(
    "name",
    ["../evil", "models/../../evil", "extra/../evil", "extra/a/b", "models/model.json/", "models\\model.json",
     "data/weights/weight_0.pt", "data/weights/model.pt", "models/other.json"],
)  # fmt: skip
def test_a_member_off_the_list_is_refused(name: str, good: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive):
        read(rewrite(good, tmp_path / "bad.pt2", {name: b"x"}))


def test_a_name_with_a_hidden_end_is_refused(good: Path, tmp_path: Path) -> None:
    path = rewrite(good, tmp_path / "bad.pt2", {"extra/hidden.end": b"x"})
    path.write_bytes(path.read_bytes().replace(b"extra/hidden.end", b"extra/hidden\x00end"))
    with pytest.raises(UnsafeArchive):
        read(path)


@pytest.mark.parametrize("root", ["..", ".", "", "/tmp", "a/../b"])
def test_a_root_folder_that_leads_elsewhere_is_refused(root: str, good: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel) as caught:
        read(rewrite(good, tmp_path / "bad.pt2", {}, root=root or "/"))
    assert caught.value.code in ("unsafe_archive", "not_a_program")


def test_two_root_folders_are_refused(good: Path, tmp_path: Path) -> None:
    path = rewrite(good, tmp_path / "bad.pt2", {})
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("other/extra/note", b"x")
    with pytest.raises(UnsafeArchive, match="root folders"):
        read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(good: Path, tmp_path: Path) -> None:
    path = rewrite(good, tmp_path / "bad.pt2", {})
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("good/models/model.json", b"{}")
    with pytest.raises(UnsafeArchive, match="twice"):
        read(path)


def test_compression_is_refused(good: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="compressed"):
        read(rewrite(good, tmp_path / "bad.pt2", {}, compression=zipfile.ZIP_DEFLATED))


def _directory(path: Path) -> int:
    """Where the directory starts; the file holds another zip, so its signature alone does not tell."""
    with zipfile.ZipFile(path) as zipped:
        return zipped.start_dir


def test_encryption_is_refused(good: Path, tmp_path: Path) -> None:
    contents = bytearray(good.read_bytes())
    contents[_directory(good) + 8] |= 1
    path = tmp_path / "bad.pt2"
    path.write_bytes(contents)
    with pytest.raises(UnsafeArchive, match="encrypted"):
        read(path)


def test_members_that_overlap_are_refused(good: Path, tmp_path: Path) -> None:
    """A bomb of stored members: many directory entries for the same bytes."""
    contents = bytearray(good.read_bytes())
    at = _directory(good)
    while contents[at : at + 4] == b"PK\x01\x02":
        struct.pack_into("<II", contents, at + 20, 1 << 20, 1 << 20)
        at += 46 + sum(struct.unpack_from("<HHH", contents, at + 28))
    path = tmp_path / "bad.pt2"
    path.write_bytes(contents)
    with pytest.raises(UnsafeArchive, match="overlap"):
        read(path)


def test_too_many_members_are_refused(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS_MAX", 3)
    with pytest.raises(UnsafeArchive, match="more than 3 members"):
        read(good)


def test_a_directory_that_would_fill_the_memory_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "DIRECTORY_BYTES_MAX", 100)
    with pytest.raises(UnsafeArchive, match="directory"):
        read(good)


def test_json_that_would_fill_the_memory_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "JSON_BYTES_MAX", 100)
    with pytest.raises(UnsafeArchive, match="larger than"):
        read(good)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_damaged(share: float, good: Path, tmp_path: Path) -> None:
    contents = good.read_bytes()
    path = tmp_path / "cut.pt2"
    path.write_bytes(contents[: int(len(contents) * share)])
    with pytest.raises(CorruptArchive):
        read(path)


def test_a_flipped_bit_in_a_weight_is_noticed(good: Path, tmp_path: Path) -> None:
    contents = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as zipped:
        info = zipped.getinfo("good/data/weights/weight_0")
    name, extra = struct.unpack_from("<HH", contents, info.header_offset + 26)
    contents[info.header_offset + 30 + name + extra] ^= 1
    path = tmp_path / "flipped.pt2"
    path.write_bytes(contents)
    with pytest.raises(CorruptArchive, match="weight_0"):
        read(path)


def test_a_missing_member_is_named(good: Path, tmp_path: Path) -> None:
    with pytest.raises(CorruptArchive, match="weight_0"):
        read(rewrite(good, tmp_path / "bad.pt2", {"data/weights/weight_0": None}))


def test_an_archive_gives_writable_bytes(good: Path) -> None:
    with Archive(good) as opened:
        contents = opened.storage("data/weights/weight_0")
    contents[0] ^= 1
    assert len(contents) == 2 * 3 * 4
