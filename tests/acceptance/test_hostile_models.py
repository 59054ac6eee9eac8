"""Hostile or damaged model files, through every door by which a model comes in.

A process for each door opens them one after the other under an audit hook (opener.py). Each file is refused by name;
nothing outside of its folder is touched, nothing is run, and memory grows by less than twice the size of the genuine
model. The hook does not see files that native code opens, so inotify watches the folder that hostile files point to.
"""

from __future__ import annotations

import ctypes
import gzip
import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load, save

from charrnn.jobs.files.files import Files
from charrnn.options import NetworkOptions
from tests.fixtures.processes import Home
from tests.fixtures.versions import Version, make_version

ROOT = Path(__file__).parents[2]
WEIGHTS = "model.safetensors"
CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz"
UNITS = 900  # 39 MB of weights
FOREIGN = ("lambda.keras", "lookup.keras", "tfsm.keras", "lambda.h5", "link.h5", "virtual.h5", "external.h5", "huge.h5",
           "pickled.npz", "pickled.npy")  # fmt: skip
NOT_READ = "the header has "  # the first bytes of such files are read as a header's length
NEVER = ("compile", "ctypes.", "exec", "marshal.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.",
         "pty.", "socket.connect", "subprocess.", "urllib.")  # fmt: skip


# The genuine model


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return make_version(tmp_path_factory.mktemp("genuine"), f"m{UNITS}", NetworkOptions(units=UNITS), CHARACTERS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version that is opened first, so that everything is imported."""
    return make_version(tmp_path_factory.mktemp("small"), "m8", NetworkOptions(units=8), CHARACTERS)


# Hostile files


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that hostile files read and write."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text("of this machine")
    (folder / "config.json").write_text(json.dumps({"format": 1, "network": {"units": UNITS}}))
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, outside: Path) -> Path:
    """A folder of files of Keras, HDF5 and NumPy; each does harm when its own software opens it."""
    folder = tmp_path_factory.mktemp("foreign")
    command = [sys.executable, "-m", "tests.programs.foreign", str(folder), str(outside)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return folder


Change = Callable[[bytes], bytes]


def parts_of(weights: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the numbers of weights."""
    end = 8 + int.from_bytes(weights[:8], "little")
    return json.loads(weights[8:end]), weights[end:]


def joined(header: dict[str, Any] | bytes, numbers: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def tensor(name: str, **values: Any) -> Change:
    """Change the description of one tensor."""

    def change(weights: bytes) -> bytes:
        header, numbers = parts_of(weights)
        header[name] = {"dtype": "F32", **header.get(name, {}), **values}
        return joined(header, numbers)

    return change


def described(**values: Any) -> Change:
    """Add entries to the header."""
    return lambda weights: joined({**values, **parts_of(weights)[0]}, parts_of(weights)[1])


def converted(kind: str) -> Change:
    return lambda weights: save({name: array.astype(kind) for name, array in load(weights).items()})


def longer(weights: bytes) -> bytes:
    """Make a header of 30 MB, in JSON that takes 25 times as much memory."""
    header, numbers = parts_of(weights)
    text = json.dumps(header).encode()
    return joined(
        text[:-1] + b',"__metadata__":[' + b"[]," * 10_000_000 + b"[]]}", numbers[: len(numbers) - (30 << 20)]
    )


def overlapping(weights: bytes) -> bytes:
    """Put two tensors of one size at one place: the sum of the sizes is right."""
    header, numbers = parts_of(weights)
    header["lstm_1.kernel"]["data_offsets"] = header["lstm_0.recurrent_kernel"]["data_offsets"]
    return joined(header, numbers)


def named_twice(weights: bytes) -> bytes:
    header, numbers = parts_of(weights)
    twice = json.dumps({"dense.bias": header["dense.bias"]}, separators=(",", ":")).encode()
    return joined(twice[:-1] + b"," + json.dumps(header, separators=(",", ":")).encode()[1:], numbers)


def flipped(weights: bytes) -> bytes:
    """Flip one bit of the header, so that a name ends too late."""
    place = weights.index(b'":')
    return weights[:place] + bytes([weights[place] ^ 1]) + weights[place + 1 :]


DAMAGED: dict[str, tuple[Change, str]] = {  # change and message
    "float64": (converted("float64"), "has type 'F64'. Expected F32"),
    "float16": (converted("float16"), "has type 'F16'. Expected F32"),
    "other shape": (tensor("dense.kernel", shape=[28, UNITS]), "do not match the network: 'dense.kernel'"),
    "8 PB": (tensor("dense.kernel", shape=[1 << 51]), "do not match the network: 'dense.kernel'"),
    "8 PB of places": (
        tensor("dense.kernel", shape=[1 << 51], data_offsets=[0, 1 << 53]), "and data_offsets [0, 9007",
    ),
    "extra tensor": (tensor("evil", shape=[0], data_offsets=[0, 0]), "do not match the network: 'evil'"),
    "missing tensor": (
        lambda weights: save({name: array for name, array in load(weights).items() if name != "dense.bias"}),
        "do not match the network: 'dense.bias'",
    ),
    "overlap": (overlapping, "a tensor starts at byte"),
    "behind the end": (tensor("dense.kernel", data_offsets=[1 << 40, 2 << 40]), "and data_offsets [1099511627776"),
    "named twice": (named_twice, "not in the form that safetensors writes"),
    "metadata a list": (described(__metadata__=[1]), "'__metadata__' must be an object"),
    "header of 2^63": (lambda weights: b"\xff" * 7 + b"\x7f" + weights[8:], NOT_READ),
    "header of 30 MB": (longer, NOT_READ),
    "bit flipped": (flipped, "not JSON in UTF-8"),
    "cut off": (lambda weights: weights[: len(weights) // 2], "Expected"),
    "cut off in the header": (lambda weights: weights[:100], "truncated"),
    "more at the end": (lambda weights: weights + bytes(4), "bytes of weights"),
    "empty": (lambda _: b"", "not JSON in UTF-8"),
    "the last weight NaN": (lambda weights: weights[:-4] + struct.pack("<f", math.nan), "a weight is NaN or infinite"),
    "the last weight infinite": (lambda weights: weights[:-4] + struct.pack("<f", -math.inf), "is NaN or infinite"),
}  # fmt: skip
IMPORTED = {"float64": "bytes. Expected 1 to", "empty": "has 0 bytes"}  # messages of import, by the manifest's sizes


# Opening files


@dataclass(frozen=True)
class Opened:
    """How an attempt to open a file ended, and the events meanwhile."""

    code: int
    message: str
    events: list[list[str]]
    grown_mb: float


@contextmanager
def unread(folder: Path) -> Iterator[None]:
    """Check that no file in the folder is opened meanwhile, by any means."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(folder), 0xFFF) > 0  # IN_ALL_EVENTS
    try:
        yield
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)


class Doors:
    """A process for each door. If one ends, the test fails with its file, and the next file gets a new process."""

    def __init__(self, root: Path, small: Version) -> None:
        self.root, self.tmp = root, root / "tmp"
        for name in ("home", "tmp"):
            (root / name).mkdir()
        in_store = stored(root, small)
        (root / "damaged").write_text(in_store.read_text().replace("models/m", "models/n"))
        self._known = {"import": small.archive, "load": small.folder, "worker": in_store}
        self._processes = dict[str, subprocess.Popen[str]]()

    def open(self, door: str, path: Path) -> Opened:
        process = self._processes.pop(door, None) or self._start(door)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                said = (self.root / door).read_text()[-2000:]
                pytest.fail(f"{path} ended the process of {door} with {process.wait()}: {said}")
            self._processes[door] = process
            return Opened(**json.loads(line))
        finally:
            if door not in self._processes:
                _end(process)

    def close(self) -> None:
        for process in self._processes.values():
            _end(process)

    def _start(self, door: str) -> subprocess.Popen[str]:
        places = {"CHARRNN_HOME": str(self.root / "home"), "TMPDIR": str(self.tmp), "COLUMNS": "10000"}
        # Large blocks return to the system when they are free, and count when they are allocated again.
        environment = {**os.environ, **places, "MALLOC_MMAP_THRESHOLD_": "131072"}
        command = [
            sys.executable,
            "-m",
            "tests.programs.opener",
            door,
            str(self._known[door]),
            str(self.root / "damaged"),
        ]
        with open(self.root / door, "w") as said:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    with process:  # closes its pipes
        pass


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, small: Version) -> Iterator[Doors]:
    opened = Doors(tmp_path_factory.mktemp("doors"), small)
    yield opened
    opened.close()


@pytest.fixture
def sandbox(tmp_path: Path, doors: Doors) -> Iterator[Path]:
    """The folder for the file under test; no temporary file may be left afterwards."""
    yield tmp_path
    assert not any(doors.tmp.iterdir())


def check_confined(ended: Opened, sandbox: Path, doors: Doors, genuine: Version, *inputs: Path) -> None:
    """Check that memory stayed small, nothing outside was touched, and nothing was run."""
    assert ended.grown_mb < 2 * genuine.size / 2**20
    assert [event for event in ended.events if event[0].startswith(NEVER)] == []
    allowed = tuple(map(str, (sandbox, doors.root, *inputs)))
    touched = [event for event in ended.events if event[0].startswith(("open", "os.", "shutil."))]
    outside = [event for event in touched if not event[1].startswith(allowed)]
    assert not outside, outside


def check_refused(ended: Opened, path: Path, message: str) -> None:
    said = " ".join(ended.message.split())
    assert (ended.code, message in said) == (2, True), said
    assert str(path) in said
    assert "Traceback" not in said
    assert len(said) < 2000


# Opening the genuine model


def stored(root: Path, version: Version) -> Path:
    """Put a version where a store keeps it, and return a file with the store's reference to it."""
    files = Files(str(root / "files"), root / "cache")
    files.claim_for("store", None)
    reference = files.put_folder(f"models/m/{len(list(root.glob('*.json')))}", version.folder)
    path = root / f"{len(list(root.glob('*.json')))}.json"
    path.write_text(json.dumps({"root": str(root / "files"), **asdict(reference)}))
    return path


@pytest.mark.parametrize("door", ["import", "load", "worker"])
def test_a_genuine_version_takes_less_memory_than_twice_its_size(
    sandbox: Path, doors: Doors, genuine: Version, door: str
) -> None:
    # Catches: weights that are mapped, in Model's load; an archive that is read as a whole
    paths = {"import": genuine.archive, "load": genuine.folder, "worker": stored(sandbox, genuine)}
    ended = doors.open(door, paths[door])
    assert ended.code == 0
    check_confined(ended, sandbox, doors, genuine, paths[door])


# Hostile archives


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small files that become large when they are unpacked or read as a whole."""
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "bomb.tar.gz").write_bytes(gzip.compress(bytes(1 << 28), 1))
    with tarfile.open(folder / "bomb.tar.xz", "w:xz", preset=0) as tar:
        tar.addfile(tarfile.TarInfo("manifest.json"))
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("manifest.json", bytes(1 << 28))
    with zipfile.ZipFile(folder / "directory.zip", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.json", b"")
    (folder / "zeros.zip").touch()
    os.truncate(folder / "zeros.zip", 1 << 40)
    return folder


NO_ZIP = "not a whole zip archive. Expected an exported model version"
OTHERS = dict.fromkeys((*FOREIGN, "bomb.tar.gz", "bomb.tar.xz", "zeros.zip"), NO_ZIP)
OTHERS |= dict.fromkeys(
    (name for name in FOREIGN if name.endswith((".keras", ".npz"))), "is not a file of a model version"
)
OTHERS |= {"bomb.zip": "'manifest.json' is compressed", "directory.zip": "damaged: Truncated central directory"}


@pytest.mark.parametrize(("name", "message"), OTHERS.items())
def test_foreign_model_files_are_refused_by_import(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, foreign: Path, bombs: Path, name: str, message: str
) -> None:
    path = (foreign if name in FOREIGN else bombs) / name
    with unread(outside):
        ended = doors.open("import", path)
    check_refused(ended, path, message)
    check_confined(ended, sandbox, doors, genuine, path)


def archive_with(genuine: Version, path: Path, name: str, data: bytes) -> None:
    """Write the genuine archive with one file replaced, and a manifest that lists the replacement."""
    with zipfile.ZipFile(genuine.archive) as known, zipfile.ZipFile(path, "w") as changed:
        manifest = json.loads(known.read("manifest.json"))
        manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        new = {"manifest.json": json.dumps(manifest).encode(), name: data}
        for member in known.infolist():
            entry = zipfile.ZipInfo(member.filename)
            entry.external_attr = member.external_attr
            changed.writestr(entry, new.get(member.filename) or known.read(member))


def weights_of(genuine: Version, foreign: Path, kind: str) -> bytes:
    if kind in FOREIGN:
        return (foreign / kind).read_bytes()
    return DAMAGED[kind][0]((genuine.folder / WEIGHTS).read_bytes())


@pytest.mark.parametrize("kind", [*FOREIGN, *DAMAGED])
def test_hostile_weights_in_an_archive_are_refused(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, foreign: Path, kind: str
) -> None:
    # Catches: no _check_places; no check of the header's form
    path = sandbox / "version.zip"
    archive_with(genuine, path, WEIGHTS, weights_of(genuine, foreign, kind))
    with unread(outside):
        ended = doors.open("import", path)
    message = DAMAGED[kind][1] if kind in DAMAGED else NOT_READ
    check_refused(ended, path, IMPORTED.get(kind, message))
    assert WEIGHTS in ended.message
    check_confined(ended, sandbox, doors, genuine, path)


# Hostile folders


def folder_with(sandbox: Path, genuine: Version, name: str) -> Path:
    """Copy the genuine folder without that file, and return the path for the file."""
    (sandbox / "model").mkdir()
    for path in genuine.folder.iterdir():
        if path.name != name:
            (sandbox / "model" / path.name).write_bytes(path.read_bytes())
    return sandbox / "model" / name


@pytest.mark.parametrize("kind", [*FOREIGN, *DAMAGED])
def test_hostile_weights_in_a_folder_are_refused(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, foreign: Path, kind: str
) -> None:
    # Catches: no check_weights
    path = folder_with(sandbox, genuine, WEIGHTS)
    path.write_bytes(weights_of(genuine, foreign, kind))
    with unread(outside):
        ended = doors.open("load", path.parent)
    check_refused(ended, path, DAMAGED[kind][1] if kind in DAMAGED else NOT_READ)
    check_confined(ended, sandbox, doors, genuine)


@pytest.mark.parametrize("kind", ["lambda.keras", "lambda.h5", "pickled.npz"])
def test_a_file_is_not_a_model_folder(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, foreign: Path, kind: str
) -> None:
    path = sandbox / kind
    path.write_bytes((foreign / kind).read_bytes())
    with unread(outside):
        ended = doors.open("load", path)
    check_refused(ended, path, "cannot be read: Not a directory. Expected a folder that Model.save wrote")
    check_confined(ended, sandbox, doors, genuine)


JSON_BOMBS: dict[str, tuple[str, bytes]] = {
    "lists": ("metrics.json", b'{"val_loss": 1.25, "x": [' + b"[]," * 5_000_000 + b"[]]}"),
    "objects": ("metrics.json", b'{"val_loss": 1.25, "x": [' + b'{"":0},' * 2_000_000 + b"0]}"),
    "quotes": ("metrics.json", b'{"val_loss": 1.25, "x": "' + b'\\"' * 8_000_000 + b"\\"),
    "nested": ("metrics.json", b'{"val_loss": 1.25, "x": ' + b"[" * 400_000),
    "nested network": ("config.json", b'{"format": 1, "network": ' + b"[" * 60_000),
    "nested characters": ("vocabulary.json", b'{"characters": ' + b"[" * 400_000),
    "network a list": ("config.json", b'{"format": 1, "network": [1]}'),
    "half a character": ("vocabulary.json", b'{"characters": "a\\ud800"}'),
    "number of 10,000 digits": ("config.json", b'{"format": ' + b"1" * 10_000 + b', "network": {}}'),
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
@pytest.mark.parametrize("door", ["import", "load"])
def test_hostile_json_is_refused(sandbox: Path, doors: Doors, genuine: Version, door: str, kind: str) -> None:
    # Catches: no check_values; a RecursionError that is not caught
    name, data = JSON_BOMBS[kind]
    if door == "import":
        path = sandbox / "version.zip"
        archive_with(genuine, path, name, data)
        ended = doors.open("import", path)
    else:
        path = folder_with(sandbox, genuine, name)
        path.write_bytes(data)
        ended = doors.open("load", path.parent)
    check_refused(ended, path, "")
    assert name in ended.message
    check_confined(ended, sandbox, doors, genuine, path)


# Paths that are not regular files


def to_secret(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "secret")


def to_zeros(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path, _: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


NO_FILE: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "link": (to_secret, WEIGHTS, "is a link, a folder, a pipe or a device"),
    "link of a configuration": (
        lambda path, outside: path.symlink_to(outside / "config.json"), "config.json", "is a link, a folder",
    ),
    "endless": (to_zeros, "config.json", "is a link, a folder"),
    "endless weights": (to_zeros, WEIGHTS, "is a link, a folder"),
    "pipe": (lambda path, _: os.mkfifo(path), "metrics.json", "is a link, a folder"),
    "folder": (lambda path, _: path.mkdir(), WEIGHTS, "is a link, a folder"),
    "1 TB of configuration": (sparse, "config.json", "has 1,099,511,627,776 bytes. Expected at most 65,536"),
    "1 TB of metrics": (sparse, "metrics.json", "has 1,099,511,627,776 bytes. Expected at most 16,777,216"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_FILE)
@pytest.mark.parametrize("door", ["load", "worker"])
def test_a_link_or_a_pipe_in_a_folder_is_not_opened(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, door: str, kind: str
) -> None:
    # Catches: no check_file, in _read and _read_weights or in _hash_file
    make, name, message = NO_FILE[kind]
    if door == "load":
        path = folder_with(sandbox, genuine, name)
        given = path.parent
    else:
        given, path = in_store(sandbox, genuine, name)
        path.unlink()
    make(path, outside)
    with unread(outside):
        ended = doors.open(door, given)
    check_refused(ended, path, message)
    check_confined(ended, sandbox, doors, genuine)
    if path.is_dir():
        path.rmdir()


# Files of a worker


def in_store(sandbox: Path, genuine: Version, name: str) -> tuple[Path, Path]:
    """Store the genuine version. Return a file with the store's reference to it, and the path of one of its files."""
    given = stored(sandbox, genuine)
    return given, sandbox / "files" / json.loads(given.read_text())["name"] / name


def a_number_less(weights: bytes) -> bytes:
    """Flip a bit of a number, which yields different but valid weights."""
    return weights[:-1] + bytes([weights[-1] ^ 1])


@pytest.mark.parametrize("kind", [*FOREIGN, "float64", "extra tensor", "8 PB", "header of 30 MB", "cut off", "a bit"])
def test_a_worker_does_not_read_weights_that_differ_from_the_store(
    sandbox: Path, doors: Doors, genuine: Version, outside: Path, foreign: Path, kind: str
) -> None:
    # Catches: a version that is loaded before its sha256 is compared
    given, path = in_store(sandbox, genuine, WEIGHTS)
    path.write_bytes(a_number_less(path.read_bytes()) if kind == "a bit" else weights_of(genuine, foreign, kind))
    with unread(outside):
        ended = doors.open("worker", given)
    check_refused(ended, path.parent, "is not what was written: its sha256 is ")
    check_confined(ended, sandbox, doors, genuine)


JOBS = ("lambda.keras", "pipe", "link", "folder")


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_of_a_damaged_version_fails_with_the_reason_and_the_worker_continues(
    stack: Home, tmp_path: Path, outside: Path, foreign: Path, kind: str
) -> None:
    # Catches: waiting for a pipe; trying a folder or a link again and again
    units = 9 + JOBS.index(kind)  # a version that the worker has not cached yet
    version = make_version(tmp_path, f"m{units}", NetworkOptions(units=units), CHARACTERS)
    name = stack.ok("models", "import", str(version.archive)).strip()
    path = stack.path / "files" / stack.json("models", "show", name)["files"]["name"] / WEIGHTS
    path.unlink()
    if kind in FOREIGN:
        path.write_bytes((foreign / kind).read_bytes())
    else:
        NO_FILE[kind][0](path, outside)
    with unread(outside):
        job = stack.ok("submit", "-m", name, "-l", "3").strip()
        assert stack.call("wait", job, "--timeout", "60s").returncode == 1
    part = stack.part(job)
    assert (part["state"], part["attempts"]) == ("failed", 1)
    assert str(path.parent) in part["error"]
    stack.ok("submit", "-m", "tiny", "-l", "3", "--wait", "--timeout", "60s")
    (shutil.rmtree if path.is_dir() and not path.is_symlink() else os.unlink)(path)  # other tests look at the home
