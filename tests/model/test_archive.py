"""Archives of model versions: reproducible bytes, complete reads, and no hostile archive is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import stat
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InputError
from charrnn.jobs.models.archive import REGULAR, read_archive, write_archive
from charrnn.jobs.models.manifest import FILES, Manifest
from charrnn.model import Model, load
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions
from charrnn.text.vocabulary import Vocabulary

VALIDATION_TEXT = "the north wind paints a letter.\n\0every child forgets.\nà\n"
FACTS = ("model", "version", "val_loss", "precision", "network", "characters")
NESTED = b'{"a": ' + b"[" * 100_000


def manifest_of(model: Model) -> Manifest:
    return Manifest(
        model="speeches",
        version=3,
        val_loss=1.25,
        precision="float32",
        network=model.network,
        characters=model.vocabulary.characters,
    )


@dataclass
class Version:
    """A version's files and manifest, and an empty folder beside them."""

    root: Path
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return self.root / "version"

    @property
    def validation(self) -> Path:
        return self.root / "text.txt"

    @property
    def path(self) -> Path:
        return self.root / "version.zip"

    @property
    def unpacked(self) -> Path:
        return self.root / "unpacked"

    def write(self) -> bytes:
        target = io.BytesIO()
        sha256 = write_archive(target, self.manifest, self.folder, self.validation)
        assert sha256 == hashlib.sha256(target.getvalue()).hexdigest()
        return target.getvalue()

    def read(self, data: bytes) -> Manifest:
        self.path.write_bytes(data)
        return read_archive(self.path, self.unpacked)

    def refuse(self, data: bytes, message: str) -> str:
        """Check that an archive is refused and leaves nothing inside or outside of the folder."""
        self.path.write_bytes(data)
        return self.refuse_file(message)

    def refuse_file(self, message: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in self.root.rglob("*") if path != self.unpacked}
        with pytest.raises(InputError, match=message) as caught:
            read_archive(self.path, self.unpacked)
        assert {path: path.stat().st_mtime_ns for path in self.root.rglob("*") if path != self.unpacked} == before
        assert str(caught.value).startswith(f"{self.path}: ")
        return str(caught.value)


def version_of(model: Model, root: Path) -> Version:
    version = Version(root / "root", manifest_of(model))
    metrics = {"val_loss": version.manifest.val_loss}
    Model(model.network, model.vocabulary, model.weights, metrics).save(version.folder)
    version.validation.write_text(VALIDATION_TEXT)
    version.unpacked.mkdir()
    return version


@pytest.fixture
def version(untrained_model: Model, tmp_path: Path) -> Version:
    return version_of(untrained_model, tmp_path)


@dataclass
class Member:
    """A member of a zip, with arbitrary values in its header and in its entry of the directory."""

    name: str
    data: bytes = b"x"
    version: int = 20
    flags: int = 0
    method: int = zipfile.ZIP_STORED
    date: int = 33  # 1980-01-01
    crc: int | None = None
    size: int | None = None  # compressed size
    length: int | None = None
    system: int = 3
    attributes: int = REGULAR
    extra: bytes = b""
    comment: bytes = b""
    place: int | None = None
    header: dict[str, Any] = field(default_factory=dict)  # values of the header alone
    before: bytes = b""
    behind: bytes = b""

    def local(self) -> bytes:
        return self._packed("<4s", b"PK\3\4", "HHHHHLLLHH", **{"extra": b"", **self.header}) + self.data

    def central(self, place: int) -> bytes:
        line = self._packed("<4sBB", b"PK\1\2", "HHHHHLLLHHHHHLL", place=place)
        return line + self.comment

    def _packed(self, start: str, signature: bytes, form: str, place: int | None = None, **header: Any) -> bytes:
        of = {name: header.get(name, getattr(self, name)) for name in self.__dataclass_fields__}
        size = len(self.data) if of["size"] is None else of["size"]
        length = size if of["length"] is None else of["length"]
        crc = zlib.crc32(self.data) if of["crc"] is None else of["crc"]
        name: bytes = of["name"].encode()
        extra: bytes = of["extra"]
        facts = [of["version"], of["flags"], of["method"], 0, of["date"], crc, size, length, len(name), len(extra)]
        if place is None:
            return struct.pack(start + form, signature, *facts) + name + extra
        where = place if self.place is None else self.place
        more = [len(self.comment), 0, 0, self.attributes, where]
        return struct.pack(start + form, signature, 20, self.system, *facts, *more) + name + extra


def joined(members: Iterable[Member], comment: bytes = b"", before: bytes = b"", between: bytes = b"") -> bytes:
    """Return a zip of these members."""
    data, directory = before, b""
    for member in members:
        data += member.before
        directory += member.central(len(data))
        data += member.local() + member.behind
    data += between
    return data + directory + end(directory.count(b"PK\1\2"), len(directory), len(data), comment)


def end(members: int, size: int, place: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, members, members, size, place, len(comment)) + comment


def large_end(size: int, place: int) -> bytes:
    """Return a zip64 end record, for a directory of gigabytes."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, place)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, place + size, 1)
    return record + locator + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


class Parts:
    """The parts of an archive, to be changed and joined again."""

    def __init__(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}
        self.document: dict[str, Any] = json.loads(self.files.pop("manifest.json"))
        self.manifest: bytes | None = None  # replaces the document
        self.changes: dict[str, dict[str, Any]] = {}
        self.first, self.last = list[Member](), list[Member]()
        self.around: dict[str, bytes] = {}

    def list(self, name: str, data: bytes) -> None:
        """Replace the content of a file, in the manifest too."""
        self.files[name] = data
        self.document["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def join(self) -> bytes:
        manifest = json.dumps(self.document).encode() if self.manifest is None else self.manifest
        contents = {"manifest.json": manifest, **self.files}
        members = [Member(name, data) for name, data in contents.items()]
        for member in members:
            for name, value in self.changes.get(member.name, {}).items():
                setattr(member, name, value)
        return joined([*self.first, *members, *self.last], **self.around)


Change = Callable[[Parts], object]


def weights(header: object, data: bytes | None = None) -> Change:
    """Replace the header of the safetensors file, by bytes that need not be JSON, or replace its numbers."""

    def change(parts: Parts) -> None:
        old = parts.files["model.safetensors"]
        place = 8 + int.from_bytes(old[:8], "little")
        new = header if isinstance(header, bytes) else json.dumps(header).encode()
        parts.list("model.safetensors", len(new).to_bytes(8, "little") + new + (old[place:] if data is None else data))

    return change


def header_of(parts: Parts) -> dict[str, Any]:
    old = parts.files["model.safetensors"]
    header: dict[str, Any] = json.loads(old[8 : 8 + int.from_bytes(old[:8], "little")])
    return header


def reshaped(name: str) -> Change:
    """Change a shape. A loader would refuse it, but only after the version has become the champion."""

    def change(parts: Parts) -> None:
        header = header_of(parts)
        header[name]["shape"].append(1)
        weights(header)(parts)

    return change


def cut_short(name: str) -> Change:
    def change(parts: Parts) -> None:
        header = header_of(parts)
        header[name]["data_offsets"][1] -= 4
        weights(header)(parts)

    return change


def tensor(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


def fact(name: str, value: object) -> Change:
    return lambda parts: parts.document.update({name: value})


def without(name: str) -> Change:
    return lambda parts: parts.document.pop(name)


def network(**changes: object) -> Change:
    return lambda parts: parts.document["network"].update(changes)


def listed(name: str, **changes: object) -> Change:
    return lambda parts: parts.document["files"][name].update(changes)


def content(name: str, data: bytes) -> Change:
    return lambda parts: parts.list(name, data)


def member(name: str = "metrics.csv", **changes: Any) -> Change:
    """Change what a zip says about a member: in both places, or with `header` in the header alone."""
    return lambda parts: parts.changes.update({name: changes})


def packed(method: int, pack: Callable[[bytes], bytes], name: str = "metrics.csv") -> Change:
    def change(parts: Parts) -> None:
        data = pack(parts.files[name])
        length, crc = len(parts.files[name]), zlib.crc32(parts.files[name])
        parts.changes[name] = {"method": method, "data": data, "length": length, "crc": crc}

    return change


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def around(**places: bytes) -> Change:
    return lambda parts: parts.around.update(places)


def document(data: bytes) -> Change:
    return lambda parts: setattr(parts, "manifest", data)


def added(name: str, data: bytes = b"x") -> Change:
    return lambda parts: parts.last.append(Member(name, data))


def mode(kind: int) -> Change:
    """Change the file type alone, so that only a check of the type refuses it."""
    return member(attributes=(kind | 0o644) << 16)


def overlapping(parts: Parts) -> None:
    """Give the last member the place of the one before it."""
    last = [*parts.files][-1]
    parts.list(last, parts.files["metrics.json"])
    place = joined([Member("manifest.json", json.dumps(parts.document).encode())]).index(b"PK\1\2")
    parts.changes[last] = {"place": place}


def inside(parts: Parts) -> None:
    """Put the last member inside the one before it."""
    validation = Member("validation.txt", parts.files["validation.txt"])
    parts.list("metrics.csv", b"epoch\n" + validation.local())
    parts.files.pop("validation.txt")
    data = parts.join()
    validation.place, validation.behind = data.index(b"epoch\n") + 6, b""
    parts.last.append(validation)


def config(**changes: object) -> Change:
    return lambda parts: parts.list(
        "config.json", json.dumps(json.loads(parts.files["config.json"]) | changes).encode()
    )


HOSTILE: dict[str, tuple[Change, str]] = {
    "deflated": (packed(8, deflated), "'metrics.csv' is compressed. Expected an uncompressed member"),
    "deflated manifest": (
        member("manifest.json", method=8, data=deflated(bytes(1 << 28)), length=1 << 28, crc=0),
        "'manifest.json' is compressed",
    ),
    "bzip2": (packed(12, lambda data: data), "'metrics.csv' is compressed"),
    "lzma": (packed(14, lambda data: data), "'metrics.csv' is compressed"),
    "unknown compression": (packed(99, lambda data: data), "'metrics.csv' is compressed"),
    "two lengths": (member(length=1), "'metrics.csv' is compressed"),
    "encrypted": (member(flags=0x1), "'metrics.csv' is encrypted, or of unknown length .flags 0x0001"),
    "strongly encrypted": (member(flags=0x41), "'metrics.csv' is encrypted"),
    "patched": (member(flags=0x20), "'metrics.csv' is encrypted, or of unknown length .flags 0x0020"),
    "masked header": (member(flags=0x2000), "'metrics.csv' is encrypted, or of unknown length .flags 0x2000"),
    "length behind it": (member(flags=0x8, behind=b"PK\7\x08" + bytes(12)), "'metrics.csv' is encrypted, or of unk"),
    "hard link": (mode(0), "'metrics.csv' is a link, a folder or another special file. Expected only regular files"),
    "symbolic link": (mode(stat.S_IFLNK), "'metrics.csv' is a link"),
    "character device": (mode(stat.S_IFCHR), "'metrics.csv' is a link"),
    "block device": (mode(stat.S_IFBLK), "'metrics.csv' is a link"),
    "folder": (mode(stat.S_IFDIR), "'metrics.csv' is a link"),
    "pipe": (mode(stat.S_IFIFO), "'metrics.csv' is a link"),
    "socket": (mode(stat.S_IFSOCK), "'metrics.csv' is a link"),
    "folder of DOS": (member(attributes=REGULAR | 0x10), "'metrics.csv' is a link"),
    "of DOS": (member(system=0), "'metrics.csv' is a link"),
    "comment of a member": (
        member(comment=b"x" * 9000),
        "'metrics.csv' has a comment or extra fields",
    ),
    "extra fields": (member(extra=b"UT\5\0" + bytes(5)), "'metrics.csv' has a comment or extra fields"),
    "another name in extra fields": (
        member(extra=struct.pack("<HHBL", 0x7075, 9, 1, zlib.crc32(b"metrics.csv")) + b"evil"),
        "'metrics.csv' has a comment or extra fields",
    ),
    "zip64 for small ones": (
        member(size=0xFFFFFFFF, extra=struct.pack("<HHQQ", 1, 16, 1, 1)),
        "'metrics.csv' has a comment or extra fields",
    ),
    "zip64 of exabytes": (
        member(size=0xFFFFFFFF, extra=struct.pack("<HHQQ", 1, 16, 1 << 60, 1 << 60)),
        "'metrics.csv' has a header that differs from the archive's directory",
    ),
    "zip64 cut off": (member(size=0xFFFFFFFF, extra=b"\1\0\4\0" + bytes(4)), "damaged: Corrupt"),
    "zip of the future": (member(version=99), "damaged: zip file version 9.9"),
    "extra fields in the header": (
        member(header={"extra": b"UT\5\0" + bytes(5)}),
        "'metrics.csv' has a header that differs from the archive's directory",
    ),
    "another name in the header": (
        member(header={"name": "config.json"}),
        "'metrics.csv' has a header that differs from",
    ),
    "another size in the header": (member(header={"size": 1}), "'metrics.csv' has a header that differs from"),
    "another length in the header": (member(header={"length": 1}), "'metrics.csv' has a header that differs from"),
    "another sum in the header": (member(header={"crc": 1}), "'metrics.csv' has a header that differs from"),
    "compressed in the header": (member(header={"method": 8}), "'metrics.csv' has a header that differs from"),
    "encrypted in the header": (member(header={"flags": 1}), "'metrics.csv' has a header that differs from"),
    "another sum": (member(crc=1), "damaged: Bad CRC-32 for file 'metrics.csv'"),
    "another day": (member(date=34), "'metrics.csv' has a header that differs from"),
    "2 GB": (member(size=0x7FFFFFF0), "'validation.txt' is at byte .* Expected it at 2,147"),
    "4 GB": (member(size=0xFFFFFFFE), "'metrics.csv' has a comment or extra fields"),
    "place behind the end": (member(place=0x7FFFFFF0), "'metrics.csv' is at byte 2,147,483,632. Expected it at"),
    "two at one place": (overlapping, "'validation.txt' is at byte .* Expected it at .*, after the previous member"),
    "one in the other": (inside, "'validation.txt' is at byte .* Expected it at .*, after the previous member"),
    "bytes between": (member(before=b"x"), "'metrics.csv' is at byte .* Expected it at .*, after the previous member"),
    "a header of none": (
        member(before=Member("run.py").local()),
        "'metrics.csv' is at byte .* Expected it at .*, after the previous member",
    ),
    "bytes before": (around(before=b"#!/bin/sh\n"), "'manifest.json' is at byte 10. Expected it at 0"),
    "another archive before": (around(before=joined([Member("a")])), "'manifest.json' is at byte .* Expected it at 0"),
    "bytes before the directory": (around(between=b"x"), "its directory is at byte .* Expected it at"),
    "comment": (around(comment=b"x"), "not a whole zip archive. Expected an exported model version, with nothing"),
    "long comment": (around(comment=b"x" * 65_535), "not a whole zip archive"),
    "an end in the comment": (around(comment=end(0, 0, 0)), "it has no members"),
    "parent": (added("../evil"), "'../evil' is not a file of a model version. Expected manifest.json, config.json"),
    "parent of a known name": (added("../config.json"), "'../config.json' is not a file of a model version"),
    "absolute": (added("/etc/evil"), "'/etc/evil' is not a file"),
    "subfolder": (added("a/config.json"), "'a/config.json' is not a file"),
    "here": (added("./config.json"), "'./config.json' is not a file"),
    "dots": (added(".."), "'..' is not a file"),
    "no name": (added(""), "'' is not a file"),
    "folder's name": (added("config.json/", b""), "'config.json/' is not a file"),
    "of Windows": (added("..\\\\config.json"), r"config.json' is not a file"),
    "drive": (added("C:config.json"), "'C:config.json' is not a file"),
    "cut by a zero": (added("validation.txt\0.py"), r"'validation.txt\\x00.py' is not a file"),
    "other letters": (added("CONFIG.JSON"), "'CONFIG.JSON' is not a file"),
    "control characters": (added("\x1b[31m\n"), r"'\\x1b\[31m\\n' is not a file"),
    "another name": (added("run.py"), "'run.py' is not a file"),
    "twice": (added("config.json"), "'config.json' appears twice. Expected each file once"),
    "manifest twice": (added("manifest.json"), "'manifest.json' appears twice"),
    "not listed": (
        lambda parts: parts.document["files"].pop("metrics.csv"),
        "it has .*metrics.csv.*. Expected .*, as the manifest lists them",
    ),
    "missing": (
        lambda parts: parts.files.pop("metrics.csv"),
        "it has .*. Expected .*metrics.csv.*, as the manifest lists them",
    ),
    "smaller": (listed("config.json", size=900), "'config.json' has .* bytes. Expected 900, as the manifest says"),
    # Catches: no comparison at the end of _content
    "other content": (
        lambda parts: parts.files.update({"validation.txt": VALIDATION_TEXT.replace("north", "south").encode()}),
        "'validation.txt' is not what the manifest lists: its sha256 is",
    ),
    "manifest not first": (
        lambda parts: parts.first.append(Member("metrics.csv")),
        "its first member is 'metrics.csv'. Expected 'manifest.json'",
    ),
    "manifest too large": (
        document(bytes((8 << 20) + 1)),
        "manifest.json: 8,388,609 bytes. Expected at most 8,388,608",
    ),
    "manifest no JSON": (
        document(b"{"),
        "manifest.json: not JSON in UTF-8",
    ),
    "manifest not UTF-8": (
        document(b'{"a": "\xff"}'),
        "manifest.json: not JSON in UTF-8",
    ),
    "manifest nested": (
        document(NESTED),
        "manifest.json: not JSON in UTF-8: maximum recursion",
    ),
    "manifest no object": (
        document(b"[1]"),
        r"manifest.json: not a JSON object. Received: \[1\]",
    ),
    # Catches: `_check_format` after `Manifest.from_dict`: a newer format may have more fields
    "newer format": (
        lambda parts: parts.document.update(format=2, more="fields"),
        "unknown format 2. Expected 1: a newer charrnn-jobs wrote the archive. Upgrade to the",
    ),
    "no format": (lambda parts: parts.document.pop("format"), "format must be a whole number"),
    "format as text": (fact("format", "1"), "format must be a whole number"),
    "format true": (fact("format", True), "format must be a whole number"),
    **{f"no {name}": (without(name), f"the manifest has no {name}. Expected") for name in FACTS},
    "no files": (lambda parts: parts.document.pop("files"), "files must be an object. Received: None"),
    "unknown field": (fact("run\x1b", "rm"), r"the manifest has unknown fields \['run\\x1b'\]. Expected characters"),
    "model no text": (fact("model", 3), "model must be a string. Received: 3"),
    "model no name": (fact("model", "../x"), "Model '../x' is not valid"),
    "version 0": (fact("version", 0), "version must be a whole number from 1"),
    "version true": (fact("version", True), "version must be a whole number"),
    "version with a point": (fact("version", 1.0), "version must be a whole number"),
    "version of 10 digits": (fact("version", 10**9), "version must be a whole number"),
    "nats infinite": (fact("val_loss", float("inf")), "val_loss must be a finite number"),
    "nats no number": (fact("val_loss", float("nan")), "val_loss must be a finite number"),
    "nats below 0": (fact("val_loss", -0.1), "val_loss must be a finite number"),
    "nats as text": (fact("val_loss", "1"), "val_loss must be a finite number"),
    "precision auto": (fact("precision", "auto"), "precision must be one of float32, bfloat16. Received: 'auto'"),
    "precision no text": (fact("precision", ["float32"]), "precision must be one of"),
    "network no object": (fact("network", [1]), r"network must be an object. Received: \[1\]"),
    "network with more": (network(**{"run\x1b": 1}), r"network has unknown fields \['run\\x1b'\]"),
    "network too large": (network(units=5000), "units must be a whole number from 1 to 4,096"),
    "network of another kind": (network(layers="2"), "layers must be a whole number"),
    "characters no text": (fact("characters", ["a", "b"]), "characters must be a string"),
    "characters unsorted": (fact("characters", "ba"), "must be distinct and in sorted order"),
    "characters alone": (fact("characters", "a"), "1 distinct character "),
    "half a character": (fact("characters", "a\ud800"), "characters: a surrogate"),
    "files no object": (fact("files", ["config.json"]), "files must be an object"),
    "unknown file": (
        lambda parts: parts.document["files"].update({"../evil": {"size": 1, "sha256": "0" * 64}}),
        r"files has unknown fields \['../evil'\]",
    ),
    "required file": (
        lambda parts: [parts.document["files"].pop("validation.txt"), parts.files.pop("validation.txt")],
        "files has no validation.txt",
    ),
    "file no object": (lambda parts: parts.document["files"].update({"config.json": 5}), "config.json must be an"),
    "file with more": (listed("config.json", mode=1), r"config.json has unknown fields \['mode'\]"),
    "size missing": (lambda parts: parts.document["files"]["config.json"].pop("size"), "config.json has no size"),
    "size below 0": (listed("config.json", size=-1), "config.json: size must be a whole number from 0"),
    "size as text": (listed("config.json", size="1"), "config.json: size must be a whole number"),
    "size with a point": (listed("config.json", size=1.0), "config.json: size must be a whole number"),
    "sha256 no text": (listed("config.json", sha256=1), "config.json: sha256 must be a string"),
    "sha256 too short": (
        listed("config.json", sha256="abc"),
        "config.json: sha256 'abc' is not a sha256. Expected 64 characters of",
    ),
    "empty": (content("validation.txt", b""), "'validation.txt' has 0 bytes. Expected 1 to 30,000,000"),
    "validation too large": (
        listed("validation.txt", size=30_000_001),
        "'validation.txt' has 30,000,001 bytes. Expected 1",
    ),
    "metrics too large": (listed("metrics.json", size=(16 << 20) + 1), "'metrics.json' has 16,777,217 bytes"),
    "history too large": (listed("metrics.csv", size=(16 << 20) + 1), "'metrics.csv' has 16,777,217 bytes"),
    "config too large": (listed("config.json", size=(1 << 16) + 1), "'config.json' has 65,537 bytes"),
    "vocabulary too large": (listed("vocabulary.json", size=(1 << 20) + 1), "'vocabulary.json' has 1,048,577 bytes"),
    "weights too large": (
        listed("model.safetensors", size=2 << 20),
        "'model.safetensors' has 2,097,152 bytes. Expected 1 to .* for such a network",
    ),
    "other network": (config(network={"units": 25}), "config.json: does not match the network in the manifest"),
    "other network in the manifest": (network(dropout=0.2), "config.json: does not match the network in the manifest"),
    "other format of the network": (config(format=2), "config.json: unknown format 2. Expected 1"),
    "config no JSON": (content("config.json", b"{"), "config.json: not JSON in UTF-8"),
    "config without network": (content("config.json", b'{"format": 1}'), "config.json: network must be an object"),
    "other characters": (
        content("vocabulary.json", b'{"characters": "ab"}'),
        "vocabulary.json: does not match the characters",
    ),
    "vocabulary no object": (
        content("vocabulary.json", b'"ab"'),
        "vocabulary.json is damaged: string",
    ),
    "metrics nested": (content("metrics.json", NESTED), "metrics.json: not JSON in UTF-8: maximum recursion"),
    "validation not UTF-8": (content("validation.txt", b"a\xff"), "validation.txt: not UTF-8 text: invalid start byte"),
    "weights without a header": (content("model.safetensors", b"\0\0"), "model.safetensors: not JSON in UTF-8"),
    "weights of a short header": (
        content("model.safetensors", b"\xff\xff" + bytes(6) + b"{}"),
        "model.safetensors: truncated: at least 65,533 bytes of its header are missing",
    ),
    "weights of a huge header": (
        content("model.safetensors", b"\xff" * 8 + b"{}"),
        "model.safetensors: the header has 18,446,744,073,709,551,615 bytes. Expected at most 1,048,576",
    ),
    "header no JSON": (weights(b"{"), "model.safetensors: not JSON in UTF-8"),
    "header nested": (weights(NESTED), "model.safetensors: not JSON in UTF-8: maximum recursion"),
    "tensor no object": (weights({"a": 1}), "model.safetensors: 'a' must be an object"),
    "tensor without offsets": (weights({"a": {"dtype": "F32", "shape": []}}), "'a' has no data_offsets"),
    "other type": (weights(tensor(dtype="F64")), "model.safetensors: 'a' has type 'F64'. Expected F32"),
    "offset behind the end": (
        weights(tensor(data_offsets=[0, 1 << 40])),
        r"shape \[1\] and data_offsets \[0, 1099511627776\]",
    ),
    "offset before the start": (weights(tensor(data_offsets=[-4, 0])), r"shape \[1\] and data_offsets \[-4, 0\]"),
    "offsets swapped": (weights(tensor(data_offsets=[8, 4])), r"shape \[1\] and data_offsets \[8, 4\]"),
    "offsets no numbers": (weights(tensor(data_offsets=["0", "4"])), r"shape \[1\] and data_offsets \['0', '4'\]"),
    "offsets as true": (weights(tensor(data_offsets=[False, 4])), r"data_offsets \[False, 4\]. Expected whole numbers"),
    "one offset": (weights(tensor(data_offsets=[4])), r"data_offsets \[4\]. Expected whole numbers"),
    "shape as true": (weights(tensor(shape=[True])), r"'a' has shape \[True\]"),
    "shape with a point": (weights(tensor(shape=[1.0])), r"'a' has shape \[1.0\]"),
    "shape no list": (weights(tensor(shape=1)), "'a' has shape 1 and"),
    "offsets no list": (weights(tensor(data_offsets=7)), r"shape \[1\] and data_offsets 7"),
    "other names": (weights(tensor()), "weights that do not match the network: 'a', 'dense.bias', 'dense.kernel'"),
    "another shape": (reshaped("dense.kernel"), "weights that do not match the network: 'dense.kernel'"),
    "another place": (cut_short("dense.kernel"), "weights that do not match the network: 'dense.kernel'"),
    "other loss": (
        content("metrics.json", b'{"val_loss": 0.5}'),
        "metrics.json: does not match the validation loss in",
    ),
    "bytes behind the tensors": (
        lambda parts: parts.list("model.safetensors", parts.files["model.safetensors"] + bytes(4)),
        "model.safetensors: .* bytes of weights. Expected",
    ),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_and_damaged_archives_are_refused_and_leave_nothing(
    version: Version, change: Change, message: str
) -> None:
    # Catches: no unlink in _all_or_nothing
    parts = Parts(version.write())
    change(parts)
    version.refuse(parts.join(), message)


def test_an_archive_rebuilt_from_its_parts_is_accepted(version: Version) -> None:
    """Without this test, each archive above could be refused for another reason."""
    assert version.read(Parts(version.write()).join()) == version.manifest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a whole zip archive"),
        (b"hello", "not a whole zip archive"),
        (b"hello" * 1000, "not a whole zip archive. Expected an exported model version, with nothing after its end"),
        (bytes(1024), "not a whole zip archive"),
        (end(0, 0, 0), "it has no members. Expected 'manifest.json'"),
        (end(1, 46, 0), "damaged: Bad offset for central directory"),
        (bytes(46) + end(1, 46, 0), "damaged: Bad magic number for central directory"),
        (large_end(1 << 62, 0), "damaged: Bad offset for central directory"),
        (joined([Member("manifest.json", b"{}")]), "format must be a whole number"),
    ],
)
def test_files_other_than_archives_are_refused(version: Version, data: bytes, message: str) -> None:
    version.refuse(data, message)


def test_a_compressed_archive_is_refused(version: Version) -> None:
    version.refuse(gzip.compress(version.write()), "not a whole zip archive")


def test_an_archive_that_is_cut_off_anywhere_is_refused(version: Version) -> None:
    # Catches: no _check_end
    data = version.write()
    for place in {1, 21, 22, *range(len(data) - 700, len(data)), *range(1000, len(data), 4999)}:
        version.refuse(data[:place], "not a whole zip archive")


@pytest.mark.parametrize("more", [b"x", b"\0", bytes(22), Member("run.py").local(), bytes(2 << 20)])
def test_bytes_after_the_end_are_refused(version: Version, more: bytes) -> None:
    version.refuse(version.write() + more, "not a whole zip archive")


def test_a_comment_that_is_not_there_is_refused(version: Version) -> None:
    # Catches: an end record with arbitrary last two bytes
    version.refuse(version.write()[:-2] + b"\1\0", "not a whole zip archive")


def test_a_second_archive_after_the_first_is_refused(version: Version) -> None:
    version.refuse(version.write() + joined([Member("manifest.json", b"{}")]), "'manifest.json' is at byte .* at 0,")


def test_any_byte_changed_is_refused_or_changes_nothing(version: Version) -> None:
    data, rng = version.write(), random.Random(0)
    for place in rng.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        try:
            assert version.read(bytes(changed)) == version.manifest
        except InputError:
            assert not list(version.unpacked.iterdir())
        for path in version.unpacked.iterdir():
            path.unlink()


def test_a_directory_of_gigabytes_takes_no_memory(version: Version) -> None:
    # Catches: zipfile on a file that returns as many bytes as it is asked for
    with open(version.path, "wb") as file:
        file.truncate(1 << 33)  # a sparse file of zeros
        file.seek(0, os.SEEK_END)
        file.write(large_end(1 << 33, 0))
    assert peak_of(lambda: version.refuse_file("damaged: Bad magic number for central directory")) < 4 << 20


def test_a_directory_of_a_million_members_takes_no_memory(version: Version) -> None:
    # Catches: the same
    directory = Member("x").central(0) * 1_000_000
    version.path.write_bytes(directory + large_end(len(directory), 0))
    del directory
    assert peak_of(lambda: version.refuse_file("damaged: Truncated central directory")) < 4 << 20


def test_a_member_of_gigabytes_takes_no_memory(version: Version) -> None:
    # Catches: no limit on the size of the manifest
    size = (1 << 31) - 2
    member = Member("manifest.json", b"", size=size, crc=1)
    with open(version.path, "wb") as file:
        file.write(member.local())
        file.seek(size, os.SEEK_CUR)
        place, directory = file.tell(), member.central(0)
        file.write(directory + end(1, len(directory), place))
    assert peak_of(lambda: version.refuse_file("manifest.json: 2,147,483,646 bytes. Expected at most")) < 4 << 20


def peak_of(act: Callable[[], object]) -> int:
    """Return the peak of allocated bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_error_quotes_no_more_than_a_screen(version: Version) -> None:
    parts = Parts(version.write())
    parts.document["model"] = "x" * 1_000_000
    assert len(version.refuse(parts.join(), "Model 'xxx")) < 1000


def test_an_exported_version_is_imported_unchanged(each_model: Model, tmp_path: Path) -> None:
    version = version_of(each_model, tmp_path)
    assert version.read(version.write()) == version.manifest
    unpacked = {path.name: path.read_bytes() for path in version.unpacked.iterdir()}
    validation = {"validation.txt": VALIDATION_TEXT.encode()}
    assert unpacked == {path.name: path.read_bytes() for path in version.folder.iterdir()} | validation
    assert load(version.unpacked).network == each_model.network


def test_a_version_without_a_history_is_read_back(version: Version) -> None:
    (version.folder / "metrics.csv").unlink()
    version.read(version.write())
    assert {path.name for path in version.unpacked.iterdir()} == {*FILES} - {"metrics.csv"}


def test_a_version_makes_the_same_bytes(version: Version) -> None:
    data = version.write()
    for number, path in enumerate(version.folder.iterdir()):
        path.chmod(0o600 + number)
        os.utime(path, (number, number))
    assert version.write() == data


def test_any_unzip_reads_it(version: Version) -> None:
    with zipfile.ZipFile(io.BytesIO(version.write())) as archive:
        assert archive.testzip() is None
        members = archive.infolist()
    assert [one.filename for one in members] == ["manifest.json", *FILES]
    assert {(one.external_attr >> 16, one.date_time, one.compress_type, one.flag_bits) for one in members} == {
        (stat.S_IFREG | 0o644, (1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0)
    }


def test_an_archive_of_more_than_2_gib_is_read_back(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: `force_zip64=False`; any extra field refused. zipfile's limit is lowered: 2 GiB take half a minute
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    data = version.write()
    assert b"PK\6\6" in data
    assert version.read(data) == version.manifest


def test_its_manifest_is_its_version_and_its_files(version: Version) -> None:
    document = Parts(version.write()).document
    validation = VALIDATION_TEXT.encode()
    assert document["files"]["validation.txt"] == {
        "size": len(validation),
        "sha256": hashlib.sha256(validation).hexdigest(),
    }
    assert list(document.pop("files")) == list(FILES)
    assert document == {"format": 1, **asdict(version.manifest)}
    assert document["network"] == version.manifest.network.to_dict()


def test_a_network_that_lacks_an_option_has_its_default(version: Version) -> None:
    """An archive that was written before the option existed lacks it."""
    parts = Parts(version.write())
    del parts.document["network"]["max_len"]
    assert version.read(parts.join()) == version.manifest


def test_whole_nats_are_read_back_as_floats(version: Version) -> None:
    parts = Parts(version.write())
    parts.document["val_loss"] = 10**30  # more than a database integer can hold
    parts.list("metrics.json", b'{"val_loss": 1e30}')
    assert repr(version.read(parts.join()).val_loss) == "1e+30"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("version/run.py", b"x", r"has \['run.py'\], which no model version"),
        ("version/validation.txt", b"x", r"has \['validation.txt'\], which no model version"),
        ("version/config.json", None, "files has no config.json"),
        ("text.txt", None, "files has no validation.txt"),
        (
            "version/vocabulary.json",
            b'{"characters": "ab"}',
            "vocabulary.json: does not match the characters in the manifest",
        ),
        ("version/metrics.json", b"x" * ((16 << 20) + 1), "'metrics.json' has 16,777,217 bytes"),
    ],
)
def test_an_unreadable_version_is_not_exported(version: Version, name: str, data: bytes | None, message: str) -> None:
    path = version.root / name
    path.write_bytes(data) if data is not None else path.unlink()
    target = io.BytesIO()
    with pytest.raises(InputError, match=message):
        write_archive(target, version.manifest, version.folder, version.validation)
    assert not target.getvalue()


def test_a_file_that_changes_meanwhile_is_reported(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: no comparison at the end of _content when the archive is written
    class Changing(io.BytesIO):
        def write(self, data: Any) -> int:
            version.validation.write_text(VALIDATION_TEXT.upper())
            return super().write(data)

    monkeypatch.setattr(tempfile, "TemporaryFile", Changing)
    target = io.BytesIO()
    with pytest.raises(InputError, match="'validation.txt' is not what the manifest lists"):
        write_archive(target, version.manifest, version.folder, version.validation)
    assert not target.getvalue()


def test_an_archive_can_be_written_to_a_pipe(version: Version) -> None:
    # Catches: zipfile directly on the target, which seeks or writes lengths after the members
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe: Any = Pipe()
    write_archive(pipe, version.manifest, version.folder, version.validation)
    assert pipe.data == version.write()


def test_a_folder_that_is_not_empty_is_left_unchanged(version: Version) -> None:
    data = version.write()
    (version.unpacked / "config.json").write_text("mine")
    with pytest.raises(InputError, match="is not empty. Expected an empty folder"):
        version.read(data)
    assert (version.unpacked / "config.json").read_text() == "mine"


def test_a_missing_archive_cannot_be_read(version: Version) -> None:
    with pytest.raises(InputError, match="version.zip: cannot be read: No such file"):
        read_archive(version.path, version.unpacked)


def test_a_pipe_is_refused_at_once(version: Version) -> None:
    os.mkfifo(version.path)
    version.refuse_file("not a regular file")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_version_of_any_network_is_carried(tmp_path: Path, cell: str, layers: int) -> None:
    network = NetworkOptions(cell=cell, layers=layers, units=7)
    version = version_of(Model(network, Vocabulary("\nabc"), initial_weights(network, 4, rng_seed=0)), tmp_path)
    assert version.read(version.write()) == version.manifest
