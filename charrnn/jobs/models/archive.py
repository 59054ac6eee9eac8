"""A model version as one file, to be carried to another store.

The file is a plain POSIX tar. Its first member, `manifest.json`, tells what the version is and lists every other
member with size and sha256: the files of the version's folder, and the model's frozen held-out text. The same
version makes the same bytes.

What is read is untrusted. Headers are read block by block: `tarfile` alone would follow extended headers, which may
be as large as the file and hold one another. Only regular files of the names below are written, each no longer than
the manifest says, which may say no more than the network asks for.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.checks import check_choice, check_integer, check_number
from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.specs import check_name
from charrnn.model_files import (
    CONFIG,
    HISTORY,
    LIMITS,
    MAX_WEIGHTS_HEADER,
    METRICS,
    VOCABULARY,
    WEIGHTS,
    check_values,
)
from charrnn.options import BFLOAT16, FLOAT32, NetworkOptions
from charrnn.text.documents import CHUNK, check_encodable
from charrnn.text.held_out import LARGEST_HELD_OUT
from charrnn.text.vocabulary import Vocabulary

FORMAT = 1
CONFIG_FORMAT = 1  # of config.json, as charrnn.model has it

MANIFEST = "manifest.json"
HELD_OUT = "held-out.txt"
FOLDER = (CONFIG, VOCABULARY, WEIGHTS, METRICS, HISTORY)  # of a version
FILES = (*FOLDER, HELD_OUT)  # in the order in which they are written
REQUIRED = {*FILES} - {HISTORY}  # which no loader reads
FACTS = ("format", "files")  # of a manifest's document, beside the fields of Manifest

MAX_MANIFEST = 8 << 20  # bytes; 65,536 characters, all escaped, are 0.8 million
MAX_HELD_OUT = 3 * LARGEST_HELD_OUT  # bytes; Latin-1 takes two a letter as UTF-8, and pieces have one between them

MAX_VERSION = 10**18 - 1  # as `registry.MAX_DIGITS` has it
BLOCK = tarfile.BLOCKSIZE
MAX_MEMBER = 8**11 - 1  # bytes; a POSIX header has 11 octal digits for it
END = 2 * BLOCK  # zeros after the last member, at least
MAX_PADDING = 1 << 20  # bytes after the last member; tar pads to 10 kB, or to what --blocking-factor says
SHA256 = re.compile(r"[0-9a-f]{64}")
SHOWN = 500  # characters of an error, which may quote what was read
SHOWN_TENSORS = 5
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)
KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "an extended header",
    tarfile.GNUTYPE_LONGLINK: "an extended header",
    tarfile.XHDTYPE: "an extended header",
    tarfile.XGLTYPE: "an extended header",
    tarfile.SOLARIS_XHDTYPE: "an extended header",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a version is, as the store that it came from had it.

    Raises:
        InputError: a field that is not of its kind.
    """

    model: str
    version: int
    held_out_nats: float  # per character
    precision: str  # to sample it in
    network: NetworkOptions
    characters: str  # of its vocabulary

    def __post_init__(self) -> None:
        _check_text("model", self.model)
        check_name("Model", self.model)
        check_integer("version", self.version, 1, MAX_VERSION)
        check_number("held_out_nats", self.held_out_nats)
        object.__setattr__(self, "held_out_nats", float(self.held_out_nats))
        check_choice("precision", self.precision, (FLOAT32, BFLOAT16))
        _check_text("characters", self.characters)
        check_encodable("characters", self.characters)
        Vocabulary(self.characters)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        names = {field.name for field in fields(cls)}
        known = _check_fields("the manifest", values, names, names)
        return cls(**{**known, "network": _network(known["network"])})


def write_archive(target: BinaryIO, manifest: Manifest, folder: Path, held_out: Path) -> str:
    """Write a version's folder and its model's held-out text as one file -> the sha256 of it all.

    Raises:
        InputError: a file that is missing, of a size or with a content that no store would take back, or one that
            this release does not know.
    """
    with _about(str(folder)):
        paths = _paths(folder, held_out)
        files = {name: _described(name, path) for name, path in paths.items()}
        _check_files(files, manifest)
        _check_contents(paths, manifest)
    digest = hashlib.sha256()
    for chunk in _written(manifest, files, paths):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def read_archive(path: Path, folder: Path) -> Manifest:
    """Unpack what `write_archive` wrote into an empty folder: all of it, or nothing if anything is wrong.

    Raises:
        InputError: no such archive, one of another release, or one that is not what its manifest says.
    """
    if any(folder.iterdir()):
        raise InputError(f"{folder} is not empty. Expected an empty folder to unpack a model version in")
    with _about(str(path)), _open(path) as file, _all_or_nothing(folder):
        try:
            return _unpacked(file, folder)
        except OSError as error:
            raise InputError(f"cannot be read or unpacked: {error.strerror or error}") from error


# Writing


def _paths(folder: Path, held_out: Path) -> dict[str, Path]:
    """Where the files are that a version has, in order."""
    if unknown := {path.name for path in folder.iterdir()} - {*FOLDER}:
        raise InputError(f"it has {sorted(unknown)}, no part of a model version that this release knows. Remove them")
    paths = {name: folder / name for name in FILES} | {HELD_OUT: held_out}
    return {name: path for name, path in paths.items() if path.is_file()}


def _described(name: str, path: Path) -> FileRef:
    with open(path, "rb") as file:
        return FileRef(name=name, size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _written(manifest: Manifest, files: Mapping[str, FileRef], paths: Mapping[str, Path]) -> Iterator[bytes]:
    listed = {name: {"size": file.size, "sha256": file.sha256} for name, file in files.items()}
    document = {"format": FORMAT, **manifest.to_dict(), "files": listed}
    data = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    yield from _member(MANIFEST, len(data), [data])
    for name, path in paths.items():
        with open(path, "rb") as source:
            yield from _member(name, files[name].size, _content(source, files[name]))
    yield bytes(END)


def _member(name: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    header = tarfile.TarInfo(name)  # mode 0644, all else 0 or empty
    header.size = size
    yield header.tobuf(tarfile.USTAR_FORMAT)
    yield from chunks
    yield bytes(-size % BLOCK)


# Reading


def _open(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait
            raise InputError("not a regular file. Expected an archive of a model version")
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Errors of the block tell what they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error!s:.{SHOWN}}") from error


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        raise


def _unpacked(file: BinaryIO, folder: Path) -> Manifest:
    members = _members(file)
    manifest, files = _read_manifest(file, members)
    missing = {**files}
    for name, size in members:
        expected = missing.pop(name, None)
        if expected is None:
            raise InputError(f"{name!r} is not in the manifest, which lists {', '.join(files)}")
        if size != expected.size:
            raise InputError(f"{name!r} has {size:,} bytes. Expected {expected.size:,}, as the manifest says")
        with open(folder / name, "xb") as target:
            target.writelines(_content(file, expected))
    if missing:
        raise InputError(f"{', '.join(missing)}: listed in the manifest and missing. Export the version again")
    _check_contents({name: folder / name for name in files}, manifest)
    return manifest


def _members(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Name and size of the members, in order. The bytes of each are to be read before the next is asked for."""
    seen = set[str]()
    while (member := _read_header(file)) is not None:
        _check_member(member)
        if member.name in seen:
            raise InputError(f"{member.name!r} is there twice. Expected each file once")
        seen.add(member.name)
        yield member.name, member.size
        _read(file, -member.size % BLOCK, member.name)
    _check_end(file)


def _read_header(file: BinaryIO) -> tarfile.TarInfo | None:
    """The next member, or None after the last."""
    block, place = file.read(BLOCK), file.tell()
    if place > BLOCK and len(block) < BLOCK:
        raise InputError(f"cut off at byte {place:,}, without the end of an archive. Copy or export it again")
    if not any(block) and block:
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if place > BLOCK:
            raise InputError(f"damaged before byte {place:,}: {error}. Copy or export it again") from error
        raise InputError("no tar archive. Expected an exported model version, not compressed") from error


def _check_member(member: tarfile.TarInfo) -> None:
    if member.type not in REGULAR:
        kind = KINDS.get(member.type, f"of the unknown type {member.type!r}")
        raise InputError(f"{member.name!r} is {kind}. Expected regular files alone, as an export writes them")
    if member.name not in (MANIFEST, *FILES):
        raise InputError(f"{member.name!r} is no file of a model version. Expected {MANIFEST}, {', '.join(FILES)}")


def _check_end(file: BinaryIO) -> None:
    """One block of zeros was read; another is the end, and more may pad it."""
    padding = file.read(MAX_PADDING + 1)
    if len(padding) < END - BLOCK:
        raise InputError("cut off within the end of the archive. Copy or export it again")
    if len(padding) > MAX_PADDING or any(padding):
        raise InputError("more bytes follow the end of the archive. Copy or export it again")


def _read(file: BinaryIO, size: int, name: str) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise InputError(
            f"{name!r} is cut off: {size - len(data):,} bytes or more are missing. Copy or export it again"
        )
    return data


def _content(file: BinaryIO, expected: FileRef) -> Iterator[bytes]:
    """The bytes of a file, chunk by chunk; an error after the last if they are not those."""
    digest, left = hashlib.sha256(), expected.size
    while left:
        chunk = _read(file, min(CHUNK, left), expected.name)
        digest.update(chunk)
        left -= len(chunk)
        yield chunk
    if digest.hexdigest() != expected.sha256:
        raise InputError(
            f"{expected.name!r} is not what the manifest lists: its sha256 is {digest.hexdigest()[:12]}…, expected "
            f"{expected.sha256[:12]}…. Copy or export it again"
        )


# What it says


def _read_manifest(file: BinaryIO, members: Iterator[tuple[str, int]]) -> tuple[Manifest, dict[str, FileRef]]:
    name, size = next(members, (None, 0))
    if name != MANIFEST:
        raise InputError(f"its first member is {name!r}. Expected {MANIFEST!r}, as an export writes it")
    with _about(MANIFEST):
        if not 0 <= size <= MAX_MANIFEST:
            raise InputError(f"{size:,} bytes. Expected at most {MAX_MANIFEST:,}")
        document = _parsed(_read(file, size, MANIFEST))
        _check_format(document.get("format"))
        manifest = Manifest.from_dict({name: value for name, value in document.items() if name not in FACTS})
        files = _listed(document.get("files"))
        _check_files(files, manifest)
        return manifest, files


def _check_format(number: object) -> None:
    check_integer("format", number, 1, MAX_VERSION)
    if number != FORMAT:
        raise InputError(
            f"format {number} is not known. Expected {FORMAT}: the archive is of a newer charrnn-jobs. Upgrade the "
            f"charrnn-jobs that reads it to the release that wrote it"
        )


def _listed(values: object) -> dict[str, FileRef]:
    files = _check_fields("files", values, {*FILES}, REQUIRED)
    return {name: _file(name, value) for name, value in files.items()}


def _file(name: str, value: object) -> FileRef:
    known = _check_fields(name, value, {"size", "sha256"}, {"size", "sha256"})
    check_integer(f"{name}: size", known["size"], 0, MAX_MEMBER)
    _check_text(f"{name}: sha256", known["sha256"])
    if not SHA256.fullmatch(known["sha256"]):
        raise InputError(f"{name}: sha256 {known['sha256']!r:.80} is none. Expected 64 of 0-9 and a-f")
    return FileRef(name=name, **known)


def _check_files(files: Mapping[str, FileRef], manifest: Manifest) -> None:
    """See that all files are there, and none is larger than such a version's can be."""
    _check_fields("files", files, {*FILES}, REQUIRED)
    weights = 8 + MAX_WEIGHTS_HEADER + sum(map(_bytes_of, _shapes(manifest).values()))
    limits = LIMITS | {HELD_OUT: MAX_HELD_OUT, WEIGHTS: min(weights, MAX_MEMBER)}
    for name, file in files.items():
        if not 0 < file.size <= limits[name]:
            raise InputError(f"{name!r} has {file.size:,} bytes. Expected 1 to {limits[name]:,} for such a network")


def _shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    return manifest.network.weight_shapes(len(manifest.characters))


def _bytes_of(shape: Sequence[int]) -> int:
    return 4 * math.prod(shape)


def _check_fields(what: str, values: object, known: set[str], required: set[str]) -> dict[str, Any]:
    """An object's fields, if they are these."""
    if not isinstance(values, Mapping):
        raise InputError(f"{what} must be an object. Received: {values!r:.80}")
    if missing := sorted(required - values.keys()):
        raise InputError(f"{what} has no {', '.join(missing)}. Expected {', '.join(sorted(required))}")
    if unknown := sorted(values.keys() - known):
        raise InputError(f"{what} has unknown fields {unknown!r:.80}. Expected {', '.join(sorted(known))}")
    return dict(values)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{what} must be a text. Received: {value!r:.80}")


def _network(values: object) -> NetworkOptions:
    return NetworkOptions.from_dict(_check_fields("network", values, NetworkOptions.names(), set()))


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = data.decode()
        check_values(document)
        values = json.loads(document)
    except (ValueError, RecursionError) as error:  # brackets, thousands deep
        raise InputError(f"not JSON in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"not an object. Received: {values!r:.80}")
    return values


# What the files hold, as far as it can be told without TensorFlow


def _check_contents(paths: Mapping[str, Path], manifest: Manifest) -> None:
    with _about(CONFIG):
        config = _parsed(paths[CONFIG].read_bytes())
        if config.get("format") != CONFIG_FORMAT or _network(config.get("network")) != manifest.network:
            raise InputError(f"not the network of the manifest, in format {CONFIG_FORMAT}. Export the version again")
    with _about(VOCABULARY):
        if _parsed(paths[VOCABULARY].read_bytes()).get("characters") != manifest.characters:
            raise InputError("not the characters of the manifest. Export the version again")
    with _about(METRICS):
        if _parsed(paths[METRICS].read_bytes()).get("held_out_nats") != manifest.held_out_nats:
            raise InputError("not the held-out loss of the manifest. Export the version again")
    with _about(WEIGHTS):
        _check_weights(paths[WEIGHTS], _shapes(manifest))
    with _about(HELD_OUT):
        _check_utf_8(paths[HELD_OUT])


def _check_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """See that a safetensors file has float32 tensors of these names and shapes, and nothing else."""
    with open(path, "rb") as file:
        length = int.from_bytes(_read(file, 8, WEIGHTS), "little")
        if length > MAX_WEIGHTS_HEADER:
            raise InputError(
                f"a header of {length:,} bytes. Expected at most {MAX_WEIGHTS_HEADER:,}, in a safetensors file that an "
                f"export wrote; files of Keras, HDF5 and NumPy are not read"
            )
        data = _read(file, length, WEIGHTS)
    header, room = _parsed(data), path.stat().st_size - 8 - length
    found = {name: _tensor(name, tensor, room) for name, tensor in header.items()}
    expected = {name: (list(shape), _bytes_of(shape)) for name, shape in shapes.items()}
    if wrong := sorted(name for name in found.keys() | expected if found.get(name, ())[:2] != expected.get(name)):
        shown = ", ".join(f"{name!r:.80}" for name in wrong[:SHOWN_TENSORS])
        raise InputError(f"weights that are not the network's: {shown}{', …' if len(wrong) > SHOWN_TENSORS else ''}")
    _check_places(found.values(), room)
    if data.rstrip(b" ") != json.dumps(header, separators=(",", ":")).encode():  # such as a name that is there twice
        raise InputError("a header in another form than safetensors writes. Export the version again")


def _check_places(tensors: Iterable[tuple[object, int, int]], room: int) -> None:
    """See that they fill the file one after the other, without a gap and without a byte of two."""
    place = 0
    for start, size in sorted((start, size) for _, size, start in tensors):
        if start != place:
            raise InputError(
                f"a tensor at byte {start:,} of the weights. Expected it at {place:,}, behind the one before"
            )
        place += size
    if place != room:
        raise InputError(f"{room:,} bytes of weights. Expected {place:,}")


def _tensor(name: str, tensor: object, room: int) -> tuple[object, int, int]:
    """Shape, bytes and place of a tensor, as the header has them."""
    names = {"dtype", "shape", "data_offsets"}
    known = _check_fields(f"{name!r:.80}", tensor, names, names)
    if known["dtype"] != "F32":
        raise InputError(f"{name!r:.80} is of type {known['dtype']!r:.80}. Expected F32")
    match known["data_offsets"]:
        case [int(start), int(stop)] if 0 <= start <= stop <= room:
            return known["shape"], stop - start, start
    raise InputError(f"{name!r:.80} is at {known['data_offsets']!r:.80}. Expected a start and an end up to {room:,}")


def _check_utf_8(path: Path) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            while file.read(CHUNK):
                pass
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error.reason}. Expected a model's held-out text") from error
