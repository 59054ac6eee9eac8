"""Write and read archives: a model version as one file, to move it to another store.

The file is a zip whose members are stored, not compressed: `unzip -l` lists them. The first member, `manifest.json`,
describes the version and lists all other members with size and sha256: the files of the version's folder, and the
model's frozen validation text. Exports of the same version are equal byte for byte.

An archive to read is untrusted. A zip contains all facts twice, in each member's header and in the directory at its
end, so that two readers may see different contents. An archive is therefore accepted only if both are exactly as an
export writes them and there are no other bytes. Only members with the names below are unpacked, and none may be longer
than the manifest says. The manifest in turn may allow no more than the network requires.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.models.manifest import (
    FILES,
    MANIFEST,
    MAX_MANIFEST,
    VALIDATION,
    Manifest,
    check_files,
    manifest_json,
    parse_manifest,
)
from charrnn.model_files import (
    CONFIG,
    COPIES,
    FOLDER,
    METRICS,
    VOCABULARY,
    WEIGHTS,
    about,
    check_weights,
    read_metrics,
    read_network,
    read_vocabulary,
)
from charrnn.regular_file import NotRegularError, regular
from charrnn.text.documents import CHUNK

MAX_READ = 1 << 17  # bytes read at once; a directory of this size lists at most 2,849 members
END = b"PK\5\6"  # the first bytes of a zip's last record
END_SIZE = 22  # bytes of that record; the last two are 0 if no comment follows
UNIX = 3  # the code for the system on which a zip was made
REGULAR = (stat.S_IFREG | 0o644) << 16


def write_archive(target: BinaryIO, manifest: Manifest, folder: Path, validation: Path) -> str:
    """Write a version's folder and its model's validation text as one file. Return the file's sha256.

    Raises:
        InputError: a file is missing, has a size or contents that an import would refuse, or is unknown to this
            release. Nothing was written.
    """
    with about(folder):
        paths = _paths(folder, validation)
        files = {name: _describe(name, path) for name, path in paths.items()}
        check_files(files, manifest)
        _check_contents(folder, validation, manifest)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as whole:  # the target may be a pipe, but zipfile seeks back to each member's header
        _write(whole, manifest, files, paths)
        whole.seek(0)
        while chunk := whole.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def read_archive(path: Path, folder: Path) -> Manifest:
    """Unpack an archive into an empty folder, completely or, after an error, not at all. Return its manifest.

    Raises:
        InputError: the file is not an archive, is from another release, or differs from its manifest.
    """
    if any(folder.iterdir()):
        raise InputError(f"{folder} is not empty. Expected an empty folder to unpack a model version in")
    with about(path), _open(path) as file, _all_or_nothing(folder):
        try:
            return _unpack(file, folder)
        except OSError as error:
            raise InputError(f"cannot be read or unpacked: {error.strerror or error}") from error


# Writing


def _paths(folder: Path, validation: Path) -> dict[str, Path]:
    """Return the paths of a version's files by name, in order."""
    if unknown := {path.name for path in folder.iterdir()} - {*FOLDER, COPIES}:  # that is of no use without the text
        raise InputError(
            f"it has {sorted(unknown)}, which no model version of this release contains. Remove these files"
        )
    paths = {name: folder / name for name in FOLDER} | {VALIDATION: validation}
    return {name: path for name, path in paths.items() if path.is_file()}


def _describe(name: str, path: Path) -> FileRef:
    with open(path, "rb", opener=regular) as file:
        return FileRef(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _write(target: BinaryIO, manifest: Manifest, files: Mapping[str, FileRef], paths: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(_entry(MANIFEST), manifest_json(manifest, files))
        for name, path in paths.items():
            large = files[name].size > zipfile.ZIP64_LIMIT
            with (
                open(path, "rb", opener=regular) as source,
                archive.open(_entry(name), "w", force_zip64=large) as member,
            ):
                member.writelines(_content(source, files[name]))


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a member's entry as in every archive: a regular file with a date in 1980."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = UNIX, REGULAR
    return entry


# Reading


class _Bounded(io.FileIO):
    """A file that returns at most MAX_READ bytes at once, since zipfile reads a directory of any size in one call."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(MAX_READ if size is None or size < 0 else min(size, MAX_READ))


def _open(path: Path) -> _Bounded:
    try:
        return _Bounded(regular(path))
    except NotRegularError as error:
        raise InputError("not a regular file. Expected an archive of a model version") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Delete the unpacked files if the block raises."""
    try:
        yield
    except BaseException:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        raise


def _unpack(file: _Bounded, folder: Path) -> Manifest:
    _check_end(file)
    with _open_zip(file) as archive:
        members = _members(file, archive)
        manifest, files = _read_manifest(archive, members.pop(MANIFEST))
        if [*members] != [*files]:
            raise InputError(f"it has {', '.join(members)}. Expected {', '.join(files)}, as the manifest lists them")
        for name, member in members.items():
            expected = files[name]
            if member.file_size != expected.size:
                raise InputError(
                    f"{name!r} has {member.file_size:,} bytes. Expected {expected.size:,}, as the manifest says"
                )
            with archive.open(member) as source, open(folder / name, "xb") as target:
                target.writelines(_content(source, expected))
    _check_contents(folder, folder / VALIDATION, manifest)
    return manifest


def _check_end(file: _Bounded) -> None:
    """Check that the zip's last record ends the file. zipfile would accept a comment or anything else after it."""
    file.seek(-min(END_SIZE, file.seek(0, io.SEEK_END)), io.SEEK_END)
    end = file.read(END_SIZE)
    if len(end) < END_SIZE or not end.startswith(END) or any(end[-2:]):
        raise InputError(
            "not a whole zip archive. Expected an exported model version, with nothing after its end. Copy or export "
            "it again"
        )


@contextmanager
def _open_zip(file: _Bounded) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OverflowError, ValueError, struct.error) as error:
        raise InputError(f"damaged: {error}. Copy or export it again") from error


def _members(file: _Bounded, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after checking that they lie one after the other as in an export, manifest first."""
    members = dict[str, zipfile.ZipInfo]()
    place = 0
    for member in archive.infolist():
        name = member.orig_filename  # the name as stored; `filename` ends before a zero byte
        if name not in (MANIFEST, *FILES):
            raise InputError(f"{name!r:.80} is not a file of a model version. Expected {MANIFEST}, {', '.join(FILES)}")
        if name in members:
            raise InputError(f"{name!r} appears twice. Expected each file once")
        if not members and name != MANIFEST:
            raise InputError(f"its first member is {name!r}. Expected {MANIFEST!r}, as an export writes it")
        _check_kind(member)
        place = _check_place(file, member, place)
        members[name] = member
    if not members:
        raise InputError(f"it has no members. Expected {MANIFEST!r} and the files that it lists")
    if place != archive.start_dir:
        raise InputError(f"its directory is at byte {archive.start_dir:,}. Expected it at {place:,}, after the files")
    return members


def _check_kind(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise InputError(f"{name!r} is compressed. Expected an uncompressed member, as export writes it")
    if member.flag_bits:
        raise InputError(
            f"{name!r} is encrypted, or of unknown length (flags {member.flag_bits:#06x}). Expected neither"
        )
    if member.external_attr != REGULAR or member.create_system != UNIX:
        raise InputError(f"{name!r} is a link, a folder or another special file. Expected only regular files")
    large = max(member.file_size, member.header_offset) > zipfile.ZIP64_LIMIT
    if member.comment or bool(member.extra) != large:
        raise InputError(f"{name!r} has a comment or extra fields. Expected none, as export writes it")


def _check_place(file: _Bounded, member: zipfile.ZipInfo, place: int) -> int:
    """Check that a member's header is at `place` and is what an export writes. Return the place of the next one."""
    name = member.orig_filename
    if member.header_offset != place:
        raise InputError(
            f"{name!r} is at byte {member.header_offset:,}. Expected it at {place:,}, after the previous member"
        )
    entry = _entry(name)
    entry.file_size, entry.compress_size, entry.CRC = member.file_size, member.file_size, member.CRC
    header = entry.FileHeader()
    file.seek(place)
    if file.read(len(header)) != header:
        raise InputError(f"{name!r} has a header that differs from the archive's directory. Copy or export it again")
    return place + len(header) + member.file_size


def _content(file: IO[bytes], expected: FileRef) -> Iterator[bytes]:
    """Yield the bytes of a file, chunk by chunk. After the last, raise InputError if their sha256 is wrong."""
    digest, left = hashlib.sha256(), expected.size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise InputError(f"{expected.name!r} is cut off: {left:,} bytes are missing. Copy or export it again")
        digest.update(chunk)
        left -= len(chunk)
        yield chunk
    if digest.hexdigest() != expected.sha256:
        raise InputError(
            f"{expected.name!r} is not what the manifest lists: its sha256 is {digest.hexdigest()[:12]}…, expected "
            f"{expected.sha256[:12]}…. Copy or export it again"
        )


def _read_manifest(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[Manifest, dict[str, FileRef]]:
    with about(MANIFEST):
        if member.file_size > MAX_MANIFEST:
            raise InputError(f"{member.file_size:,} bytes. Expected at most {MAX_MANIFEST:,}")
        return parse_manifest(archive.read(member))


# The contents of the files, as far as they can be checked without TensorFlow


def _check_contents(folder: Path, validation: Path, manifest: Manifest) -> None:
    with about(CONFIG):
        if read_network(folder / CONFIG) != manifest.network:
            raise InputError("does not match the network in the manifest. Export the version again")
    with about(VOCABULARY):
        if read_vocabulary(folder / VOCABULARY).characters != manifest.characters:
            raise InputError("does not match the characters in the manifest. Export the version again")
    with about(METRICS):
        if read_metrics(folder / METRICS).get("val_loss") != manifest.val_loss:
            raise InputError("does not match the validation loss in the manifest. Export the version again")
    with about(WEIGHTS):
        check_weights(folder / WEIGHTS, manifest.shapes)
    with about(VALIDATION):
        _check_utf_8(validation)


def _check_utf_8(path: Path) -> None:
    try:
        with open(path, encoding="utf-8", opener=regular) as file:
            while file.read(CHUNK):
                pass
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}. Expected a model's validation text") from error
