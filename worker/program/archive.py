"""The zip that a `.pt2` file is, opened as a stranger's: names, sizes and counts are checked before contents."""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from secateur.errors import CorruptArchive, UnsafeArchive

MEMBERS_MAX = 50_000
DIRECTORY_BYTES_MAX = 16 << 20
JSON_BYTES_MAX = 128 << 20

MEMBER = re.compile(
    r"""archive_format | archive_version | byteorder | \.data/(version|serialization_id)
    | models/model\.json
    | data/weights/(model_weights_config\.json | weight_\d{1,9})
    | data/constants/(model_constants_config\.json | tensor_\d{1,9})
    | data/sample_inputs/model\.pt          # a pickle: carried by every file, never opened here
    | extra/[\w\-]+(\.[\w\-]+)*""",
    re.VERBOSE | re.ASCII,
)
ROOT = re.compile(r"[^/\\\x00-\x1f]{1,255}")
ENCRYPTED_OR_PATCHED = 0x1 | 0x20 | 0x40


class Archive:
    """The members of a `.pt2` zip under their names without the root folder; use as a context manager.

    Raises CorruptArchive when the zip is damaged and UnsafeArchive when it holds what `torch.export.save` never writes.
    """

    def __init__(self, path: Path) -> None:
        self._zip = open_zip(path)
        try:
            self.size_bytes = path.stat().st_size
            self._members = _checked(self._zip.infolist(), self.size_bytes)
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    def text(self, name: str) -> bytes:
        """The bytes of a JSON member."""
        if self._info(name).file_size > JSON_BYTES_MAX:
            raise UnsafeArchive(f"{name} is larger than {JSON_BYTES_MAX >> 20} MiB.")
        return bytes(self.storage(name))

    def storage(self, name: str) -> bytearray:
        """The bytes of a member, writable, read once and checked against the zip's checksum."""
        info = self._info(name)
        try:
            with self._zip.open(info) as member:
                contents = bytearray(member.read(info.file_size))
                member.read(1)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
            raise CorruptArchive(f"The member {name} cannot be read: {error}.") from error
        if len(contents) != info.file_size:
            raise CorruptArchive(f"The member {name} is cut off.")
        return contents

    def _info(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise CorruptArchive(f"The archive lacks its member {name}.")
        return self._members[name]


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip whose directory is small enough to be read at all; raises CorruptArchive or UnsafeArchive."""
    _check_directory(path)
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError, struct.error) as error:
        raise CorruptArchive(f"The zip directory cannot be read: {error}.") from error


def _check_directory(path: Path) -> None:
    """Bounds what zipfile will read into memory: the end record stands at the very end, as torch writes it."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - 42))
        tail = file.read()
        end = tail[-22:]
        if len(end) < 22 or not end.startswith(b"PK\x05\x06"):
            raise CorruptArchive("The zip has no end: the file is cut off. Upload it again.")
        size = struct.unpack_from("<I", end, 12)[0]
        if tail.startswith(b"PK\x06\x07"):
            file.seek(min(struct.unpack_from("<Q", tail, 8)[0], length))
            record = file.read(56)
            size = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else length
    if size > DIRECTORY_BYTES_MAX:
        raise UnsafeArchive(f"The zip's directory is larger than {DIRECTORY_BYTES_MAX >> 20} MiB.")


def _checked(infos: Iterable[zipfile.ZipInfo], length: int) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    roots: set[str] = set()
    total = 0
    for info in infos:
        root, _, name = info.filename.partition("/")
        _check_member(info, root, name)
        if name in members:
            raise UnsafeArchive(f"The archive holds {name!r} twice.")
        members[name] = info
        roots.add(root)
        total += info.file_size
    if len(roots) != 1:
        raise UnsafeArchive(f"The archive has {len(roots)} root folders instead of one.")
    if len(members) > MEMBERS_MAX:
        raise UnsafeArchive(f"The archive holds more than {MEMBERS_MAX} members.")
    if total > length:
        raise UnsafeArchive("The members of the archive overlap: together they are larger than the file.")
    return members


def _check_member(info: zipfile.ZipInfo, root: str, name: str) -> None:
    shown = repr(info.orig_filename[:100])
    if info.orig_filename != info.filename or not ROOT.fullmatch(root) or root in (".", ".."):
        raise UnsafeArchive(f"The archive holds a member with the name {shown}.")
    if not MEMBER.fullmatch(name):
        raise UnsafeArchive(f"The archive holds {shown}, which no program written by torch.export.save holds.")
    if info.flag_bits & ENCRYPTED_OR_PATCHED:
        raise UnsafeArchive(f"The member {shown} is encrypted.")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise UnsafeArchive(f"The member {shown} is compressed; torch.export.save stores members as they are.")
