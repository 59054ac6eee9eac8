"""Archives of model versions: the same bytes each time, read back whole, and nothing hostile is unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InputError
from charrnn.jobs.models import archive
from charrnn.jobs.models.archive import FILES, Manifest, read_archive, write_archive
from charrnn.model import CONFIG_FORMAT, Model, load
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions
from charrnn.text.vocabulary import Vocabulary

HELD_OUT_TEXT = "the north wind paints a letter.\n\0every child forgets.\nà\n"
FACTS = ("model", "version", "held_out_nats", "precision", "network", "characters")
NESTED = b'{"a": ' + b"[" * 100_000


def manifest_of(model: Model) -> Manifest:
    return Manifest(
        model="speeches",
        version=3,
        held_out_nats=1.25,
        precision="float32",
        network=model.network,
        characters=model.vocabulary.characters,
    )


@dataclass
class Version:
    """A version's files, what it is, and an empty folder beside them."""

    root: Path
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return self.root / "version"

    @property
    def held_out(self) -> Path:
        return self.root / "text.txt"

    @property
    def path(self) -> Path:
        return self.root / "version.tar"

    @property
    def unpacked(self) -> Path:
        return self.root / "unpacked"

    def write(self) -> bytes:
        target = io.BytesIO()
        sha256 = write_archive(target, self.manifest, self.folder, self.held_out)
        assert sha256 == hashlib.sha256(target.getvalue()).hexdigest()
        return target.getvalue()

    def read(self, data: bytes) -> Manifest:
        self.path.write_bytes(data)
        return read_archive(self.path, self.unpacked)

    def refuse(self, data: bytes, message: str) -> str:
        """See that an archive is refused and leaves nothing, inside and outside of the folder."""
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
    metrics = {"held_out_nats": version.manifest.held_out_nats}
    Model(model.network, model.vocabulary, model.weights, metrics).save(version.folder)
    version.held_out.write_text(HELD_OUT_TEXT)
    version.unpacked.mkdir()
    return version


@pytest.fixture
def version(untrained_model: Model, tmp_path: Path) -> Version:
    return version_of(untrained_model, tmp_path)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, len(data) if size is None else size, "../text.txt"
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


class Parts:
    """An archive taken apart, to be put together otherwise."""

    def __init__(self, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            parts = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        self.document: dict[str, Any] = json.loads(parts.pop("manifest.json"))
        self.files: dict[str, bytes] = parts
        self.kinds: dict[str, bytes] = {}
        self.before, self.after = b"", b""  # the manifest; the last file

    def list(self, name: str, data: bytes) -> None:
        """Another content, which the manifest lists."""
        self.files[name] = data
        self.document["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def join(self) -> bytes:
        files = b"".join(member(name, data, self.kinds.get(name, b"0")) for name, data in self.files.items())
        manifest = member("manifest.json", json.dumps(self.document).encode())
        return self.before + manifest + files + self.after + bytes(1024)


Change = Callable[[Parts], object]


def weights(header: object, data: bytes | None = None) -> Change:
    """Another header of the safetensors file, of those who are no JSON too; or other numbers."""

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
    """Which a loader would refuse, but not before it is champion."""

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


def kind(letter: bytes) -> Change:
    """Only its type is wrong, so that only a look at the type refuses it."""
    return lambda parts: parts.kinds.update({"metrics.csv": letter})


def added(name: str, kind: bytes = b"0", data: bytes = b"x") -> Change:
    return lambda parts: setattr(parts, "after", member(name, data, kind))


def config(**changes: object) -> Change:
    return lambda parts: parts.list(
        "config.json", json.dumps(json.loads(parts.files["config.json"]) | changes).encode()
    )


HOSTILE: dict[str, tuple[Change, str]] = {
    # Catches: `not member.isreg()` for `member.type not in REGULAR`, which takes sparse and contiguous files
    "hard link": (kind(b"1"), "'metrics.csv' is a hard link. Expected regular files"),
    "symbolic link": (kind(b"2"), "'metrics.csv' is a symbolic link"),
    "character device": (kind(b"3"), "'metrics.csv' is a device"),
    "block device": (kind(b"4"), "'metrics.csv' is a device"),
    "folder": (kind(b"5"), "'metrics.csv' is a folder"),
    "pipe": (kind(b"6"), "'metrics.csv' is a pipe"),
    "contiguous": (kind(b"7"), "'metrics.csv' is of the unknown type b'7'"),
    "sparse": (kind(b"S"), "'metrics.csv' is a sparse file"),
    "long name": (kind(b"L"), "'metrics.csv' is an extended header"),
    "long link": (kind(b"K"), "'metrics.csv' is an extended header"),
    "extended header": (kind(b"x"), "'metrics.csv' is an extended header"),
    "global header": (kind(b"g"), "'metrics.csv' is an extended header"),
    "of Solaris": (kind(b"X"), "'metrics.csv' is an extended header"),
    "unknown type": (kind(b"Z"), "'metrics.csv' is of the unknown type b'Z'"),
    "old folder": (added("metrics/", b"\0"), "'metrics' is a folder"),
    "parent": (added("../evil"), "'../evil' is no file of a model version. Expected manifest.json, config.json"),
    "parent of a known name": (added("../config.json"), "'../config.json' is no file of a model version"),
    "absolute": (added("/etc/evil"), "'/etc/evil' is no file"),
    "subfolder": (added("a/config.json"), "'a/config.json' is no file"),
    "here": (added("./config.json"), "'./config.json' is no file"),
    "dots": (added(".."), "'..' is no file"),
    "no name": (added(""), "'' is no file"),
    "control characters": (added("\x1b[31m\n"), r"'\\x1b\[31m\\n' is no file"),
    "another name": (added("run.py"), "'run.py' is no file"),
    "twice": (added("config.json"), "'config.json' is there twice. Expected each file once"),
    "manifest twice": (added("manifest.json"), "'manifest.json' is there twice"),
    "not listed": (lambda parts: parts.document["files"].pop("metrics.csv"), "'metrics.csv' is not in the manifest"),
    "missing": (lambda parts: parts.files.pop("metrics.csv"), "metrics.csv: listed in the manifest and missing"),
    "smaller": (listed("config.json", size=900), "'config.json' has .* bytes. Expected 900, as the manifest says"),
    # Catches: no comparison at the end of _content
    "other content": (
        lambda parts: parts.files.update({"held-out.txt": HELD_OUT_TEXT.replace("north", "south").encode()}),
        "'held-out.txt' is not what the manifest lists: its sha256 is",
    ),
    "manifest not first": (
        lambda parts: setattr(parts, "before", member("metrics.csv", b"x")),
        "its first member is 'metrics.csv'. Expected 'manifest.json'",
    ),
    "manifest too large": (
        lambda parts: setattr(parts, "before", member("manifest.json", size=(8 << 20) + 1)),
        "manifest.json: 8,388,609 bytes. Expected at most 8,388,608",
    ),
    "manifest of a negative size": (
        lambda parts: setattr(parts, "before", member("manifest.json", size=-512)),
        "manifest.json: -512 bytes",
    ),
    "manifest no JSON": (
        lambda parts: setattr(parts, "before", member("manifest.json", b"{")),
        "manifest.json: not JSON in UTF-8",
    ),
    "manifest not UTF-8": (
        lambda parts: setattr(parts, "before", member("manifest.json", b'{"a": "\xff"}')),
        "manifest.json: not JSON in UTF-8",
    ),
    "manifest nested": (
        lambda parts: setattr(parts, "before", member("manifest.json", NESTED)),
        "manifest.json: not JSON in UTF-8: maximum recursion",
    ),
    "manifest no object": (
        lambda parts: setattr(parts, "before", member("manifest.json", b"[1]")),
        r"manifest.json: not an object. Received: \[1\]",
    ),
    # Catches: `_check_format` after `Manifest.from_dict`, which a newer format may have more fields than
    "newer format": (
        lambda parts: parts.document.update(format=2, more="fields"),
        "format 2 is not known. Expected 1: the archive is of a newer charrnn-jobs. Upgrade the",
    ),
    "no format": (lambda parts: parts.document.pop("format"), "format must be a whole number"),
    "format as text": (fact("format", "1"), "format must be a whole number"),
    "format true": (fact("format", True), "format must be a whole number"),
    **{f"no {name}": (without(name), f"the manifest has no {name}. Expected") for name in FACTS},
    "no files": (lambda parts: parts.document.pop("files"), "files must be an object. Received: None"),
    "unknown field": (fact("run\x1b", "rm"), r"the manifest has unknown fields \['run\\x1b'\]. Expected characters"),
    "model no text": (fact("model", 3), "model must be a text. Received: 3"),
    "model no name": (fact("model", "../x"), "Model '../x' is not valid"),
    "version 0": (fact("version", 0), "version must be a whole number from 1"),
    "version true": (fact("version", True), "version must be a whole number"),
    "version with a point": (fact("version", 1.0), "version must be a whole number"),
    "version of 19 digits": (fact("version", 10**18), "version must be a whole number"),
    "nats infinite": (fact("held_out_nats", float("inf")), "held_out_nats must be a finite number"),
    "nats no number": (fact("held_out_nats", float("nan")), "held_out_nats must be a finite number"),
    "nats below 0": (fact("held_out_nats", -0.1), "held_out_nats must be a finite number"),
    "nats as text": (fact("held_out_nats", "1"), "held_out_nats must be a finite number"),
    "precision auto": (fact("precision", "auto"), "precision must be one of float32, bfloat16. Received: 'auto'"),
    "precision no text": (fact("precision", ["float32"]), "precision must be one of"),
    "network no object": (fact("network", [1]), r"network must be an object. Received: \[1\]"),
    "network with more": (network(**{"run\x1b": 1}), r"network has unknown fields \['run\\x1b'\]"),
    "network too large": (network(units=5000), "units must be a whole number from 1 to 4,096"),
    "network of another kind": (network(layers="2"), "layers must be a whole number"),
    "characters no text": (fact("characters", ["a", "b"]), "characters must be a text"),
    "characters unsorted": (fact("characters", "ba"), "distinct characters in sorted order"),
    "characters alone": (fact("characters", "a"), "1 distinct characters"),
    "half a character": (fact("characters", "a\ud800"), "characters: a surrogate"),
    "files no object": (fact("files", ["config.json"]), "files must be an object"),
    "unknown file": (
        lambda parts: parts.document["files"].update({"../evil": {"size": 1, "sha256": "0" * 64}}),
        r"files has unknown fields \['../evil'\]",
    ),
    "required file": (
        lambda parts: [parts.document["files"].pop("held-out.txt"), parts.files.pop("held-out.txt")],
        "files has no held-out.txt",
    ),
    "file no object": (lambda parts: parts.document["files"].update({"config.json": 5}), "config.json must be an"),
    "file with more": (listed("config.json", mode=1), r"config.json has unknown fields \['mode'\]"),
    "size missing": (lambda parts: parts.document["files"]["config.json"].pop("size"), "config.json has no size"),
    "size below 0": (listed("config.json", size=-1), "config.json: size must be a whole number from 0"),
    "size as text": (listed("config.json", size="1"), "config.json: size must be a whole number"),
    "size with a point": (listed("config.json", size=1.0), "config.json: size must be a whole number"),
    "sha256 no text": (listed("config.json", sha256=1), "config.json: sha256 must be a text"),
    "sha256 too short": (listed("config.json", sha256="abc"), "config.json: sha256 'abc' is none. Expected 64 of"),
    "empty": (content("held-out.txt", b""), "'held-out.txt' has 0 bytes. Expected 1 to 30,000,000"),
    "held-out too large": (listed("held-out.txt", size=30_000_001), "'held-out.txt' has 30,000,001 bytes. Expected 1"),
    "metrics too large": (listed("metrics.json", size=(16 << 20) + 1), "'metrics.json' has 16,777,217 bytes"),
    "history too large": (listed("metrics.csv", size=(16 << 20) + 1), "'metrics.csv' has 16,777,217 bytes"),
    "config too large": (listed("config.json", size=(1 << 16) + 1), "'config.json' has 65,537 bytes"),
    "vocabulary too large": (listed("vocabulary.json", size=(1 << 20) + 1), "'vocabulary.json' has 1,048,577 bytes"),
    "weights too large": (
        listed("model.safetensors", size=2 << 20),
        "'model.safetensors' has 2,097,152 bytes. Expected 1 to .* for such a network",
    ),
    "other network": (config(network={"units": 25}), "config.json: not the network of the manifest"),
    "other network in the manifest": (network(dropout=0.2), "config.json: not the network of the manifest"),
    "other format of the network": (config(format=2), "config.json: not the network of the manifest, in format 1"),
    "config no JSON": (content("config.json", b"{"), "config.json: not JSON in UTF-8"),
    "config without network": (content("config.json", b'{"format": 1}'), "config.json: network must be an object"),
    "other characters": (content("vocabulary.json", b'{"characters": "ab"}'), "vocabulary.json: not the characters"),
    "vocabulary no object": (content("vocabulary.json", b'"ab"'), "vocabulary.json: not an object"),
    "metrics nested": (content("metrics.json", NESTED), "metrics.json: not JSON in UTF-8: maximum recursion"),
    "held-out not UTF-8": (content("held-out.txt", b"a\xff"), "held-out.txt: not UTF-8 text: invalid start byte"),
    "weights without a header": (content("model.safetensors", b"\0\0"), "'model.safetensors' is cut off: 6 bytes"),
    "weights of a short header": (
        content("model.safetensors", b"\xff\xff" + bytes(6) + b"{}"),
        "'model.safetensors' is cut off: 65,533 bytes",
    ),
    "weights of a huge header": (
        content("model.safetensors", b"\xff" * 8 + b"{}"),
        "model.safetensors: a header of 18,446,744,073,709,551,615 bytes. Expected at most 1,048,576",
    ),
    "header no JSON": (weights(b"{"), "model.safetensors: not JSON in UTF-8"),
    "header nested": (weights(NESTED), "model.safetensors: not JSON in UTF-8: maximum recursion"),
    "tensor no object": (weights({"a": 1}), "model.safetensors: 'a' must be an object"),
    "tensor without offsets": (weights({"a": {"dtype": "F32", "shape": []}}), "'a' has no data_offsets"),
    "other type": (weights(tensor(dtype="F64")), "model.safetensors: 'a' is of type 'F64'. Expected F32"),
    "offset behind the end": (weights(tensor(data_offsets=[0, 1 << 40])), r"'a' is at \[0, 1099511627776\]"),
    "offset before the start": (weights(tensor(data_offsets=[-4, 0])), r"'a' is at \[-4, 0\]"),
    "offsets swapped": (weights(tensor(data_offsets=[8, 4])), r"'a' is at \[8, 4\]"),
    "offsets no numbers": (weights(tensor(data_offsets=["0", "4"])), r"'a' is at \['0', '4'\]"),
    "offsets no list": (weights(tensor(data_offsets=7)), "'a' is at 7"),
    "other names": (weights(tensor()), "weights that are not the network's: 'a', 'dense.bias', 'dense.kernel'"),
    "another shape": (reshaped("dense.kernel"), "weights that are not the network's: 'dense.kernel'"),
    "another place": (cut_short("dense.kernel"), "weights that are not the network's: 'dense.kernel'"),
    "other loss": (content("metrics.json", b'{"held_out_nats": 0.5}'), "metrics.json: not the held-out loss of"),
    "bytes behind the tensors": (
        lambda parts: parts.list("model.safetensors", parts.files["model.safetensors"] + bytes(4)),
        "model.safetensors: .* bytes of weights. Expected",
    ),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_hostile_or_damaged_is_refused_and_leaves_nothing(
    version: Version, change: Change, message: str
) -> None:
    # Catches: no unlink in _all_or_nothing
    parts = Parts(version.write())
    change(parts)
    version.refuse(parts.join(), message)


def test_the_parts_put_together_are_taken(version: Version) -> None:
    """Else each of the above could be refused for another reason."""
    assert version.read(Parts(version.write()).join()) == version.manifest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no tar archive"),
        (b"hello", "no tar archive"),
        (b"hello" * 1000, "no tar archive. Expected an exported model version, not compressed"),
        (bytes(1024), "its first member is None"),
        (member("manifest.json", b"{}") + bytes(1024), "format must be a whole number"),
    ],
)
def test_what_is_no_archive_is_refused(version: Version, data: bytes, message: str) -> None:
    version.refuse(data, message)


def test_a_compressed_archive_is_refused(version: Version) -> None:
    version.refuse(gzip.compress(version.write()), "no tar archive. Expected an exported model version, not compressed")


def test_an_archive_that_is_cut_off_anywhere_is_refused(version: Version) -> None:
    # Catches: no check of the second block of zeros
    data = version.write()
    places = {512, 513, 600, len(data) - 512, len(data) - 513, len(data) - 1023, len(data) - 1024, len(data) - 1500}
    for place in places | set(range(1000, len(data), 4999)) | set(range(1024, len(data), 5120)):
        version.refuse(data[:place], "cut off")


@pytest.mark.parametrize("more", [b"x", bytes(512) + b"x", member("run.py", b"x"), bytes(2 << 20)])
def test_what_follows_the_end_is_refused(version: Version, more: bytes) -> None:
    version.refuse(version.write() + more, "more bytes follow the end")


def test_what_tar_pads_is_taken(version: Version) -> None:
    assert version.read(version.write() + bytes(10240)) == version.manifest


def test_a_damaged_header_is_refused(version: Version) -> None:
    data = version.write()
    place = data.index(b"config.json\0")
    version.refuse(data[:place] + b"C" + data[place + 1 :], "damaged before byte .*: bad checksum")


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


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (member("x", kind=tarfile.XHDTYPE, size=1 << 33), "'x' is an extended header"),
        (member("x", kind=tarfile.XGLTYPE, size=1 << 33), "'x' is an extended header"),
        (member("x", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 33), "'x' is an extended header"),
        (member("manifest.json", size=1 << 33), "manifest.json: 8,589,934,592 bytes"),
        (member("x", b"99999999 path=" + b"x" * 100_000 + b"\n", tarfile.XHDTYPE), "'x' is an extended header"),
        (member("x", kind=tarfile.XHDTYPE) * 10_000, "'x' is an extended header"),
    ],
    ids=["extended", "global", "long name", "manifest", "record", "nested"],
)
def test_headers_of_gigabytes_take_no_memory(version: Version, header: bytes, message: str) -> None:
    # Catches: `tarfile.open(path, "r:")` to walk the members; no bound of the manifest
    version.path.write_bytes(header)
    os.truncate(version.path, 1 << 33)  # with all that they claim, of zeros that take no room
    tracemalloc.start()
    try:
        version.refuse_file(message)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_an_error_quotes_no_more_than_a_screen(version: Version) -> None:
    parts = Parts(version.write())
    parts.document["model"] = "x" * 1_000_000
    assert len(version.refuse(parts.join(), "Model 'xxx")) < 1000


def test_a_version_comes_back_whole(each_model: Model, tmp_path: Path) -> None:
    version = version_of(each_model, tmp_path)
    assert version.read(version.write()) == version.manifest
    unpacked = {path.name: path.read_bytes() for path in version.unpacked.iterdir()}
    held_out = {"held-out.txt": HELD_OUT_TEXT.encode()}
    assert unpacked == {path.name: path.read_bytes() for path in version.folder.iterdir()} | held_out
    assert load(version.unpacked).network == each_model.network


def test_a_version_without_a_history_comes_back(version: Version) -> None:
    (version.folder / "metrics.csv").unlink()
    version.read(version.write())
    assert {path.name for path in version.unpacked.iterdir()} == {*FILES} - {"metrics.csv"}


def test_a_version_makes_the_same_bytes(version: Version) -> None:
    data = version.write()
    for number, path in enumerate(version.folder.iterdir()):
        path.chmod(0o600 + number)
        os.utime(path, (number, number))
    assert version.write() == data


def test_any_tar_reads_it(version: Version) -> None:
    with tarfile.open(fileobj=io.BytesIO(version.write()), mode="r:") as tar:
        members = tar.getmembers()
    assert [one.name for one in members] == ["manifest.json", *FILES]
    assert {(one.mode, one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {
        (0o644, 0, 0, 0, "", "")
    }
    assert all(one.isreg() and not one.pax_headers for one in members)


def test_its_manifest_is_its_version_and_its_files(version: Version) -> None:
    document = Parts(version.write()).document
    held_out = HELD_OUT_TEXT.encode()
    assert document["files"]["held-out.txt"] == {
        "size": len(held_out),
        "sha256": hashlib.sha256(held_out).hexdigest(),
    }
    assert list(document.pop("files")) == list(FILES)
    assert document == {"format": 1, **version.manifest.to_dict()}
    assert document["network"] == version.manifest.network.to_dict()


def test_a_manifest_comes_back(version: Version) -> None:
    assert Manifest.from_dict(json.loads(json.dumps(version.manifest.to_dict()))) == version.manifest


def test_a_network_that_lacks_an_option_has_its_default(version: Version) -> None:
    """As an archive has it that was written before there was the option."""
    parts = Parts(version.write())
    del parts.document["network"]["max_len"]
    assert version.read(parts.join()) == version.manifest


def test_a_whole_number_of_nats_is_a_float_afterwards(version: Version) -> None:
    parts = Parts(version.write())
    parts.document["held_out_nats"] = 10**30  # more than a database's whole numbers hold
    parts.list("metrics.json", b'{"held_out_nats": 1e30}')
    assert repr(version.read(parts.join()).held_out_nats) == "1e+30"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("version/run.py", b"x", r"has \['run.py'\], no part of a model version"),
        ("version/held-out.txt", b"x", r"has \['held-out.txt'\], no part"),
        ("version/config.json", None, "files has no config.json"),
        ("text.txt", None, "files has no held-out.txt"),
        ("version/vocabulary.json", b'{"characters": "ab"}', "vocabulary.json: not the characters of the manifest"),
        ("version/metrics.json", b"x" * ((16 << 20) + 1), "'metrics.json' has 16,777,217 bytes"),
    ],
)
def test_what_could_not_be_read_is_not_written(version: Version, name: str, data: bytes | None, message: str) -> None:
    path = version.root / name
    path.write_bytes(data) if data is not None else path.unlink()
    target = io.BytesIO()
    with pytest.raises(InputError, match=message):
        write_archive(target, version.manifest, version.folder, version.held_out)
    assert not target.getvalue()


def test_a_file_that_changes_meanwhile_is_told(version: Version) -> None:
    class Changing(io.BytesIO):
        def write(self, data: Any) -> int:
            version.held_out.write_text(HELD_OUT_TEXT.upper())
            return super().write(data)

    with pytest.raises(InputError, match="'held-out.txt' is not what the manifest lists"):
        write_archive(Changing(), version.manifest, version.folder, version.held_out)


def test_a_folder_with_something_in_it_is_left_alone(version: Version) -> None:
    data = version.write()
    (version.unpacked / "config.json").write_text("mine")
    with pytest.raises(InputError, match="is not empty. Expected an empty folder"):
        version.read(data)
    assert (version.unpacked / "config.json").read_text() == "mine"


def test_a_missing_archive_cannot_be_read(version: Version) -> None:
    with pytest.raises(InputError, match="version.tar: cannot be read: No such file"):
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


def test_the_configuration_is_of_the_format_that_models_have() -> None:
    assert archive.CONFIG_FORMAT == CONFIG_FORMAT
