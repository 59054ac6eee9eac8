"""Hostile and damaged input through the real command line: text, numbers, names, URLs and forged broker messages.

Each input is refused with its location, leaves nothing behind and takes little memory, and the worker continues.
Refusals below the command line are tested beside the code that refuses: docs/bad-inputs.md has the whole list.
"""

from __future__ import annotations

import base64
import copy
import gzip
import json
import os
import pickle
import secrets
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from tests.fixtures.keys import KEY_PREFIX
from tests.fixtures.model import make_text
from tests.fixtures.processes import COMMAND, LIGHT, Home, until
from tests.fixtures.refusals import broker, refuse, stored
from worker.transport import make_celery

MEMORY_MB = 300  # limit for a command with any input
COMMAND_S = 120  # a hang; a million seeds take 11 s on two cores, and 60 beside other work
PLAIN = make_text(100).encode()
LATE = 1 << 20  # bytes before the first invalid one: the size of a chunk
SURROGATE = "\udcff"  # stands for a byte that is not UTF-8 on the command line

Message = dict[str, Any]
Inputs = Callable[[str, bytes], str]


@pytest.fixture
def written(tmp_path: Path) -> Inputs:
    """Return a function that writes a file and returns its path."""

    def write(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


# Text


TEXTS: dict[str, tuple[bytes, str]] = {  # for seeds and corpora; the location follows the text before it
    "utf-16": (PLAIN.decode().encode("utf-16"), "line 1, byte 1: 0xff is not UTF-8 text"),
    "latin-1": (b"every child\nun caf\xe9 noir\n", "line 2, byte 7: 0xe9 is not UTF-8 text"),
    "late": (
        (b"a" * 1023 + b"\n") * (LATE >> 10) + b"\xff\n",
        f"line {(LATE >> 10) + 1}, byte 1: 0xff is not UTF-8 text",
    ),
    "overlong slash": (b"the \n\xc0\xaf\n", "line 2, byte 1: 0xc0 is not UTF-8 text"),
    "overlong nul": (b"the \xe0\x80\x80\n", "line 1, byte 5: 0xe0 is not UTF-8 text"),
    "surrogate": (b"the \xed\xa0\x80\n", "line 1, byte 5: 0xed is not UTF-8 text"),
    "beyond unicode": (b"the \xf5\x80\x80\x80\n", "line 1, byte 5: 0xf5 is not UTF-8 text"),
    "cut off": (b"the \xf0\x9f\x98\n", "line 1, byte 5: 0xf0 is not UTF-8 text"),
    "gzip": (gzip.compress(PLAIN, mtime=0), "line "),
}


@pytest.mark.parametrize(("data", "message"), TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("name", ["seeds.txt", "seeds.jsonl"])
def test_seeds_that_are_not_text_are_refused(
    stack: Home, written: Inputs, name: str, data: bytes, message: str
) -> None:
    # Catches: errors="replace" in text.decode
    if name.endswith("jsonl"):
        data = b"".join(b'{"seed": "%b"}\n' % line if line else b"" for line in data.split(b"\n"))
        message = "line "  # at a different position
    path = written(name, data)
    refuse(stack, 2, f"{path}: {message}", "submit", "-m", "tiny", "--seeds", path)


@pytest.mark.parametrize("case", sorted(TEXTS.keys() - {"utf-16"}))  # corpora with a byte order mark are read
def test_corpora_that_are_not_text_are_refused(stack: Home, written: Inputs, case: str) -> None:
    # Catches: errors="replace" in plain._decode
    data, message = TEXTS[case]
    path = written("corpus.txt", data + PLAIN)
    refuse(stack, 2, f"{path}: {message}", "train", "good", path)


@pytest.mark.parametrize("data", [gzip.compress(PLAIN * 50, mtime=0), PLAIN.decode().encode("utf-16-le")])
def test_binary_files_are_refused_as_latin_1_too(stack: Home, written: Inputs, data: bytes) -> None:
    # Catches: no check for NUL in an encoding where every byte is a character
    refuse(stack, 2, "a NUL character, which text cannot contain. ",
           "train", "good", written("corpus.txt", data), "--encoding", "latin-1")  # fmt: skip


@pytest.mark.parametrize("data", [b"\n" * 9000, b"a", b"\n"])
def test_a_corpus_of_one_character_is_refused(stack: Home, written: Inputs, data: bytes) -> None:
    refuse(stack, 2, "1 distinct character cannot train a model", "train", "good", written("corpus.txt", data))


@pytest.mark.parametrize("data", [b"a", b"the", b"the\r\n", b"\xef\xbb\xbfthe\n"])
def test_the_shortest_seeds_are_accepted(stack: Home, written: Inputs, data: bytes) -> None:
    stack.ok("submit", "-m", "tiny", "--seeds", written("seeds.txt", data), "--dry-run")


UNKNOWN = {
    "nul": ("a\0", r"'\x00'"),
    "mark inside": ("a\ufeff", r"'\ufeff'"),
    "bidi": ("a\u202eb\u200b", r"'\u200b', '\u202e'"),
    "combining": ("e" + "\u0301" * 10_000, "'é', '\u0301'"),
    "emoji": ("a 😀", "'😀'"),
    "escape": ("a\x1b[31m", r"'\x1b'"),
}


@pytest.mark.parametrize(("seed", "shown"), UNKNOWN.values(), ids=UNKNOWN.keys())
@pytest.mark.parametrize("name", ["seeds.txt", "seeds.jsonl"])
def test_characters_that_the_model_does_not_know_are_named(
    stack: Home, written: Inputs, name: str, seed: str, shown: str
) -> None:
    # Catches: no _refuse_unknown, so that a worker fails at each row
    lines = ["the ", seed]
    data = "\n".join(map(_json_seed, lines) if name.endswith("jsonl") else lines)
    path = written(name, data.encode())
    message = f"1 seed contains characters outside the vocabulary: {path}: line 2: {shown}"
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", path)


def _json_seed(seed: str) -> str:
    return json.dumps({"seed": seed})


JSON_LINES = {
    "surrogate": (r'{"seed": "\ud800"}', "line 1: a surrogate"),
    "id surrogate": (r'{"id": "\udfff", "seed": "a"}', "line 1: a surrogate"),
    "stop surrogate": (r'{"seed": "a", "stop": "\ud800"}', "line 1: The stop string '\\ud800': a surrogate"),
    "no number": ('{"seed": "a", "temperature": NaN}', "line 1: temperature must be a finite number"),
    "infinite": ('{"seed": "a", "temperature": 1e400}', "line 1: temperature must be a finite number"),
    "long number": (f'{{"seed": "a", "length": {"9" * 5000}}}', "line 1 is not JSON"),
    "length": ('{"seed": "a", "length": 2147483648}', "line 1: length must be a whole number from 1 to 1,000,000"),
}


@pytest.mark.parametrize(("line", "message"), JSON_LINES.values(), ids=JSON_LINES.keys())
def test_invalid_values_in_json_lines_are_refused_with_their_line(
    stack: Home, written: Inputs, line: str, message: str
) -> None:
    # Catches: no check_encodable, a traceback when the seeds are written
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", written("seeds.jsonl", line.encode()))


def test_a_message_about_a_seed_fits_on_a_screen(stack: Home, written: Inputs) -> None:
    path = written("seeds.jsonl", b'{"seed": [%b1]}' % (b"1," * 100_000))
    assert len(stack.call("submit", "-m", "tiny", "--seeds", path).stderr) < 10_000


# Paths that are no files, and files without an end


@dataclass(frozen=True)
class Ended:
    """How a watched command ended."""

    code: int
    message: str
    memory_mb: float  # highest observed value


def watched(
    home: Home,
    *arguments: str,
    source: str = os.devnull,
    meanwhile: Callable[[int], object] = id,
) -> Ended:
    """Run a command to its end and observe its memory in the meantime.

    A child's RUSAGE is of no use: it begins with the peak of the process that started it.

    Args:
        source: the file that standard input reads.
        meanwhile: called again and again with the pid.
    """
    most = 0.0
    with open(source, "rb") as stdin, open(home.path / "watched.log", "w+") as log:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=home.environment, stdin=stdin, stdout=log, stderr=log, text=True
        )

        def look() -> bool:
            nonlocal most
            most = max(most, _memory_mb(process.pid))
            meanwhile(process.pid)
            return process.poll() is not None

        try:
            until(look, f"the end of {arguments}", COMMAND_S)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        return Ended(process.returncode, " ".join(log.read().split()), most)


def _memory_mb(pid: int, measure: str = "VmHWM") -> float:
    """Return a field of /proc/PID/status, by default the highest resident size. Pages of mapped files count too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return 0.0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(measure)) / 1024


def check_refused(ended: Ended, message: str) -> None:
    assert "Traceback" not in ended.message
    assert (ended.code, message in ended.message) == (2, True), ended.message
    assert 10 < ended.memory_mb < MEMORY_MB


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    """A sparse file of 10 GB of zeros."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 10 << 30)
    return str(path)


@pytest.mark.parametrize("options", [(), ("--seeds-format", "jsonl")])
def test_a_line_of_10_gb_takes_little_memory(stack: Home, sparse: str, options: tuple[str, ...]) -> None:
    # Catches: a limit of readline() that is too high
    ended = watched(stack, "submit", "-m", "tiny", "--seeds", sparse, *options)
    check_refused(ended, f"{sparse}: line 1 is longer than 16 MiB. Expected one seed per line")


@pytest.mark.parametrize("path", ["/dev/zero", "-"])
def test_an_endless_stream_takes_little_memory(stack: Home, path: str) -> None:
    ended = watched(stack, "submit", "-m", "tiny", "--seeds", path, source="/dev/zero")
    check_refused(ended, ": line 1 is longer than 16 MiB")


def test_a_validation_file_of_10_gb_is_not_read(stack: Home, sparse: str, written: Inputs) -> None:
    ended = watched(stack, "train", "good", written("corpus.txt", PLAIN * 10), "--validation", sparse)
    check_refused(ended, "The validation text has 10,737,418,240 bytes")


def test_a_corpus_of_one_line_takes_little_memory(stack: Home, tmp_path: Path) -> None:
    # Catches: a file that is read as a whole; pages of a mapped file that stay in memory
    path = tmp_path / "corpus.txt"
    path.write_bytes(PLAIN)
    os.truncate(path, 1 << 30)
    check_refused(watched(stack, "train", "good", str(path)), f"{path}: line ")


def test_ten_million_blank_lines_take_little_memory(stack: Home, written: Inputs) -> None:
    ended = watched(stack, "submit", "-m", "tiny", "--seeds", written("seeds.txt", b"\n" * 10_000_000))
    check_refused(ended, "it contains no seed. Expected one per line")


def test_a_million_seeds_before_a_wrong_one_take_little_memory_and_leave_nothing(stack: Home, written: Inputs) -> None:
    # Catches: list(seeds) in SeedWriter
    before = stored(stack)
    path = written("seeds.txt", b"".join(b"%d a lamp\n" % number for number in range(1_000_000)) + b"\xff\n")
    check_refused(watched(stack, "submit", "-m", "tiny", "--seeds", path), f"{path}: line 1000001, byte 1: 0xff")
    assert stored(stack) == before


ODD = {
    "folder": ("folder", "Is a directory", "without .txt files", "not a regular file"),
    "loop": ("loop", "Too many levels of symbolic links", "no such file", "Too many levels of symbolic links"),
    "below a file": ("file/x", "Not a directory", "no such file", "Not a directory"),
    "long name": ("x" * 300, "File name too long", "", "File name too long"),
    "terminal": ("/dev/tty", "cannot be read", "not a regular file", "not a regular file"),
    "device": ("/dev/null", "it contains no seed", "not a regular file", "not a regular file"),
    # Root can read every file: this one opens, but its bytes cannot be read.
    "unreadable": ("/proc/self/mem", "cannot be read: Input/output error", "the file is empty", "cannot be read"),
}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with paths that are not text files."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(("path", "message"), [case[:2] for case in ODD.values()], ids=ODD.keys())
def test_seeds_that_are_not_files_are_refused(stack: Home, odd: Path, path: str, message: str) -> None:
    refuse(stack, 2, message, "submit", "-m", "tiny", "--seeds", str(odd / path))


@pytest.mark.parametrize(("path", "message"), [(case[0], case[2]) for case in ODD.values()], ids=ODD.keys())
def test_corpora_that_are_not_files_are_refused(stack: Home, odd: Path, path: str, message: str) -> None:
    # Catches: no S_ISREG in Document.open
    refuse(stack, 2, message, "train", "good", str(odd / path))


@pytest.mark.parametrize(
    ("path", "message"),
    [(case[0], case[3]) for case in ODD.values()],
    ids=ODD.keys(),
)
def test_archives_that_are_not_files_are_refused(stack: Home, odd: Path, path: str, message: str) -> None:
    refuse(stack, 2, message, "models", "import", str(odd / path))


@pytest.mark.parametrize("data", [gzip.compress(PLAIN), b"PK\3\4" + bytes(2000), PLAIN, b"PK\5\6" + bytes(17)])
def test_other_archives_are_refused(stack: Home, written: Inputs, data: bytes) -> None:
    message = "not a whole zip archive. Expected an exported model version"
    refuse(stack, 2, message, "models", "import", written("x.zip", data))


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.mark.parametrize(
    "arguments", [("train", "good"), ("train", "good", __file__, "--validation"), ("models", "import")]
)
def test_a_pipe_without_a_writer_is_not_waited_for(stack: Home, pipe: str, arguments: tuple[str, ...]) -> None:
    refuse(stack, 2, f"{pipe}: not a regular file", *arguments, pipe)


def test_seeds_of_a_pipe_are_read(stack: Home, pipe: str) -> None:
    """A shell's <(command) is such a pipe."""
    writer = threading.Thread(target=lambda: Path(pipe).write_text("the \n"))
    writer.start()
    stack.ok("submit", "-m", "tiny", "--seeds", pipe, "--dry-run")
    writer.join()


def cut(path: str, pid: int) -> None:
    """Truncate a file that the process has opened."""
    with suppress(FileNotFoundError):  # the process is ending
        if path in map(os.readlink, Path(f"/proc/{pid}/fd").glob("*")):
            os.truncate(path, 1)


def test_a_corpus_that_is_cut_off_while_it_is_read_is_refused(stack: Home, written: Inputs) -> None:
    # Catches: a mapped file, which ends the command by SIGBUS
    path = written("corpus.txt", PLAIN * (20_000_000 // len(PLAIN)))
    ended = watched(stack, "train", "good", path, "--dry-run", meanwhile=partial(cut, path))
    assert (ended.code, "Traceback" in ended.message) == (2, False), ended.message  # the message: tests/unit


def test_seeds_that_are_cut_off_while_they_are_read_are_all_or_nothing(stack: Home, written: Inputs) -> None:
    path = written("seeds.txt", b"a lamp\n" * 1_000_000)
    before = stored(stack)
    ended = watched(stack, "submit", "-m", "tiny", "--seeds", path, "--dry-run", meanwhile=partial(cut, path))
    assert (ended.code, "Traceback" in ended.message) in ((0, False), (2, False)), ended.message
    assert stored(stack) == before


# Numbers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-t", "-inf"), "temperature must be a finite number of at least 0. Received: -inf"),
        (("-t", "1e400"), "temperature must be a finite number of at least 0. Received: inf"),
        (("-t", ""), "--temperature must be numbers such as 0.2,0.5. Received: ''"),
        (("-t", "0,"), "--temperature must be numbers such as 0.2,0.5"),
        (("-t", "0,-0"), "Temperatures must be distinct"),
        (("-l", "-1"), "length must be a whole number from 1 to 1,000,000. Received: -1"),
        (("-l", str(1 << 31)), "length must be a whole number from 1 to 1,000,000. Received: 2147483648"),
        (("-l", "9" * 5000), "Invalid value"),
        (("-n", str(1 << 31)), "samples must be a whole number from 1 to 1,000,000. Received: 2147483648"),
        (("--part-rows", "0"), "part-rows must be a whole number from 1 to 100,000. Received: 0"),
        (("--rng-seed", str(1 << 63)), "rng-seed must be a whole number from 0"),
        (("--random-seeds", "0"), "random-seeds must be a whole number from 1 to 1,000,000. Received: 0"),
        (("--after", "0"), "Invalid value"),
    ],
)
def test_invalid_numbers_are_refused(stack: Home, options: tuple[str, ...], message: str) -> None:
    refuse(stack, 2, message, "submit", "-m", "tiny", *options)


@pytest.mark.parametrize("number", ["0", "-1", str(1 << 31)])
@pytest.mark.parametrize("option", ["batch", "units", "layers", "epochs", "unroll"])
def test_training_options_out_of_range_are_refused(stack: Home, option: str, number: str) -> None:
    text = str(stack.path / "text.txt")
    refuse(stack, 2, f"{option} must be a whole number from 1 to ", "train", "good", text, f"--{option}", number)


def test_the_smallest_and_the_largest_temperature_make_texts(stack: Home) -> None:
    job = stack.ok("submit", "-m", "tiny", "-t", "0,5e-324,1e-300,1e-40,1e300,1.7e308", "-l", "9", "--wait").strip()
    rows = [json.loads(line) for line in stack.ok("results", job).splitlines()]
    assert [len(row["text"]) for row in rows] == [9] * 6
    assert len({row["text"] for row in rows[:4]}) == 1  # near 0, sampling is greedy


# Names


NAMES = ("..", "a/../b", "/etc/passwd", "a" * 300, "a ", "аbc", "ｂ", "CON", "a\nb", "a\u200b", "", SURROGATE)


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_model_name_is_refused(stack: Home, name: str) -> None:
    # Catches: no check_name in train
    refuse(stack, 2, "The model's name ", "train", name, str(stack.path / "text.txt"))
    refuse(stack, 2, "Expected 1 to 64 of a-z", "models", "import", os.devnull, f"--as={name}")


@pytest.mark.parametrize("name", NAMES[:-1])
def test_an_invalid_model_name_is_not_found(stack: Home, name: str) -> None:
    refuse(stack, 3, "There is no model ", "submit", f"--model={name}")


@pytest.mark.parametrize("version", ["..", "-1", "0", "1/../1", "9" * 5000, "champion ", "²", "1@1"])
def test_an_invalid_version_name_is_not_found(stack: Home, version: str) -> None:
    refuse(stack, 3, "Model tiny has no version ", "submit", "-m", f"tiny@{version}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "-m", SURROGATE),
        ("submit", "-m", f"tiny@{SURROGATE}"),
        ("train", "good", __file__, "--from", SURROGATE),
        ("jobs", "--model", SURROGATE),
        ("jobs", "--label", SURROGATE),
        ("models", "export", SURROGATE, "-o", os.devnull),
    ],
)
def test_a_reference_that_is_not_utf_8_is_refused(stack: Home, arguments: tuple[str, ...]) -> None:
    done = stack.call(*arguments)
    assert "Traceback" not in done.stderr
    assert done.returncode in (2, 3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--key=", "A key must have 1 to 200 characters"),
        (f"--key={'k' * 300}", "Received: 300"),
        (f"--key={SURROGATE}", "The key: a surrogate"),
        ("--label=", "The label must have 1 to 200 characters"),
        ("--label= ", "The label must have 1 to 200 characters"),
        (f"--label={'x' * 201}", "The label must have 1 to 200 characters that are not all blank. Received: 201"),
    ],
)
def test_an_invalid_key_or_label_is_refused(stack: Home, option: str, message: str) -> None:
    # Catches: no check of the key; labels of any length
    refuse(stack, 2, message, "submit", "-m", "tiny", option)


@pytest.mark.parametrize("option", ["--model", "--label", "--user", "--schedule"])
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_text_to_look_for_is_refused(stack: Home, option: str, empty: str) -> None:
    # Catches: a variable that is not set, with which all jobs are listed, or none without a reason
    refuse(stack, 2, "to look for is empty", "jobs", f"{option}={empty}")


def test_an_empty_version_to_fine_tune_is_not_found(stack: Home) -> None:
    # Catches: a variable that is not set, with which a new model is trained from nothing
    refuse(stack, 3, "There is no model ''", "train", "other", str(stack.path / "text.txt"), "--from=")


@pytest.mark.parametrize("name", ["con", "a.", "a..b", "nul"])
def test_a_name_that_other_systems_dislike_stays_in_its_folder(stack: Home, name: str) -> None:
    """Stores are on Linux, where these are ordinary names."""
    stack.ok("models", "export", "tiny", "-o", str(stack.path / "tiny.zip"))
    assert stack.ok("models", "import", str(stack.path / "tiny.zip"), f"--as={name}") == f"{name}@1\n"
    assert list((stack.path / "files" / "models" / name).iterdir())


@pytest.mark.parametrize("text", ["..", "a/../b", "/etc/passwd", "a ", "CON", "a\nb", "\u202e"])
def test_keys_and_labels_are_any_text_and_no_paths(stack: Home, text: str) -> None:
    words = ("submit", "-m", "tiny", "-l", "1", "--rng-seed", "1", f"--key={text}", f"--label={text}")
    job = stack.ok(*words)
    assert stack.ok(*words) == job
    assert [str(found["id"]) for found in stack.json("jobs", f"--label={text}")] == [job.strip()]


# URLs


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, str]]:
    """A local port to which nothing should connect, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


def check_uncalled(server: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        server.accept()


FILES_URLS = (
    "file:///etc/passwd",
    "http://169.254.169.254/",
    "http://{}/",
    "HTTP://{}/",
    "simplecache::http://{}/",
    "zip://x::http://{}/",
    "redis://{}/",
    "s3://bucket/../x",
    "s3://{}/x",
    "s3://",
)


@pytest.mark.parametrize("url", FILES_URLS)
@pytest.mark.parametrize("command", [("submit", "-m", "tiny"), ("results", "1")])
def test_files_of_another_kind_of_url_are_refused(
    stack: Home, listener: tuple[socket.socket, str], url: str, command: tuple[str, ...]
) -> None:
    # Catches: no check for "://", so that the URL becomes a folder
    server, address = listener
    other = Home(stack.path, {**stack.settings, "CHARRNN_FILES_URL": url.format(address)})
    message = "is a training job" if command[0] == "results" else "CHARRNN_FILES_URL must be "
    refuse(other, 2, message, *command)
    check_uncalled(server)


@pytest.mark.parametrize(
    "url",
    [
        FILES_URLS[0],
        *(
            pytest.param(url, marks=pytest.mark.slow("test_files_of_another_kind_of_url_are_refused"))
            for url in FILES_URLS[1:]
        ),
    ],
)
def test_a_worker_of_another_kind_of_url_does_not_start(
    stack: Home, listener: tuple[socket.socket, str], url: str
) -> None:
    server, address = listener
    other = Home(stack.path, {**stack.settings, "CHARRNN_FILES_URL": url.format(address)})
    done = other.run("worker", "--devices", "cpu")
    assert (done.returncode, "CHARRNN_FILES_URL must be " in done.stderr) == (2, True), done.stderr
    check_uncalled(server)


STORE_URLS = (
    "mysql://user:secret@{}/d",
    "http://169.254.169.254/",
    "http://{}/",
    "file:///etc/passwd",
    "sqlite://",
    "sqlite:///:memory:",
    "postgresql+pg8000://user:secret@{}/d",
    "sqlite+pysqlite:///x",
    "garbage",
    " ",
)


@pytest.mark.parametrize("url", STORE_URLS)
def test_a_store_of_another_kind_of_url_is_refused(stack: Home, listener: tuple[socket.socket, str], url: str) -> None:
    # Catches: a store in memory, which forgets accepted jobs
    server, address = listener
    other = Home(stack.path, {**stack.settings, "CHARRNN_STORE_URL": url.format(address)})
    refuse(other, 2, "CHARRNN_STORE_URL ", "submit", "-m", "tiny")
    assert "secret" not in other.call("jobs").stderr
    check_uncalled(server)


@pytest.mark.parametrize("url", ["sqlite:///file::memory:?uri=true", "sqlite:///file:x?mode=memory&uri=true"])
def test_every_spelling_of_a_store_in_memory_is_refused(stack: Home, url: str) -> None:
    assert Home(stack.path, {**stack.settings, "CHARRNN_STORE_URL": url}).call("jobs").returncode == 2


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/dev/null", "/proc/self/mem", "/tmp"])  # noqa: S108
def test_a_store_that_is_not_a_database_is_refused(stack: Home, path: str) -> None:
    other = Home(stack.path, {**stack.settings, "CHARRNN_STORE_URL": f"sqlite:///{path}"})
    if path in ("/dev/zero", "/dev/null"):  # SQLite reads them as empty databases, beside the files of this stack
        refuse(other, 2, f"The database sqlite:///{path} is empty or missing", "jobs")
    else:
        refuse(other, 4, f"The store sqlite:///{path} does not answer: ", "jobs")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "redis+socket:///etc/passwd",
        "garbage",
        *(
            url
            for url in (
                "http://127.0.0.1:1/",
                "file:///etc/passwd",
                "memory://",
                "redis://127.0.0.1:99999/0",
                "redis://127.0.0.1:1/x",
            )
        ),
    ],
)
def test_an_invalid_broker_is_reported(stack: Home, url: str) -> None:
    done = Home(stack.path, {**stack.settings, "CHARRNN_REDIS_URL": url}).call("submit", "-m", "tiny")
    assert "Traceback" not in done.stderr
    assert done.returncode in (2, 4)
    assert url in done.stderr or "CHARRNN_REDIS_URL is not a URL of a Redis server" in done.stderr


# Forged messages


Forge = Callable[[Message], object]


def header(**values: object) -> Forge:
    return lambda message: message["headers"].update(values)


def body(arguments: object, options: object = None, embedded: object = None) -> Forge:
    data = json.dumps([arguments, options or {}, embedded or {}])
    return lambda message: message.update(body=base64.b64encode(data.encode()).decode())


def raw_body(data: object) -> Forge:
    return lambda message: message.update(body=data)


def field(**values: object) -> Forge:
    return lambda message: message.update({name.replace("_", "-"): value for name, value in values.items()})


def without(*path: str) -> Forge:
    def forge(message: Message) -> None:
        for name in path[:-1]:
            message = message[name]
        del message[path[-1]]

    return forge


LARGE = 20_000_000
TRACE = "deed"  # a name in the home folder, left by a pickle that was opened
PICKLE = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}


class Deed:
    """An object whose pickle runs code when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, (f"__import__('os').mkdir(__import__('os').environ['CHARRNN_HOME'] + '/{TRACE}')",)


FORGED: dict[str, Forge] = {
    "a doorbell too many": lambda _: None,
    "replayed": header(redelivered=True),
    "unknown task": header(task="os.system"),
    "another task of Celery": header(task="celery.backend_cleanup"),
    "no task": without("headers", "task"),
    "task null": header(task=None),
    "a job": body(["generate", "4711/0"]),
    "a path": body(["generate", "../../etc/passwd"]),
    "another queue": body(["train"]),
    "unknown queue": body(["print"]),
    "queue of SQL": body(["' or 1=1 --"]),
    "queue null": body([None]),
    "queue a list": body([["generate"]]),
    "queue an object": body([{"generate": 1}]),
    "queue a NUL": body(["\0"]),
    "queue a surrogate": body(["\ud800"]),
    "no arguments": body([]),
    "five arguments": body(["generate", 1, 2, 3, 4]),
    "arguments null": body(None),
    "arguments no list": body("xx"),
    "unknown keyword": body(["generate"], {"command": "rm"}),
    "keywords a list": body(["generate"], [1]),
    "bytes of Kombu": body([{"__type__": "bytes", "__value__": 7}]),
    "body no JSON": raw_body(base64.b64encode(b"garbage").decode()),
    "body no UTF-8": raw_body(base64.b64encode(b"\xff\0").decode()),
    "body nested": raw_body(base64.b64encode(b"[" * 100_000).decode()),
    "body of 20 MB": body(["x" * LARGE]),
    "garbage of 20 MB": raw_body("A" * LARGE),
    "garbage of 20 MB, unknown": lambda message: (raw_body("A" * LARGE)(message), header(task="x")(message)),
    "pickle": lambda message: message.update({**PICKLE, "body": base64.b64encode(pickle.dumps(Deed())).decode()}),
    "JSON called pickle": field(content_type="application/x-python-serialize"),
    "yaml": field(content_type="application/x-yaml"),
    "unknown type": field(content_type="x/y"),
    "unknown encoding": field(content_encoding="klingon"),
    "compressed": header(compression="application/x-gzip"),
    "unknown compression": header(compression="x"),
    "no headers": without("headers"),
    "headers null": field(headers=None),
    "headers empty": field(headers={}),
    "headers a list": field(headers=[]),
    "id null": header(id=None),
    "id a number": header(id=7),
    "in 2099": header(eta="2099-01-01T00:00:00+00:00"),
    "at no time": header(eta="soon"),
    "of 2001": header(expires="2001-01-01T00:00:00+00:00"),
    "expires at no time": header(expires="soon"),
    "retried often": header(retries=10**9),
    "retried oddly": header(retries="x"),
    "no time limits": header(timelimit=None),
    "of a group": header(group="x", root_id="y", parent_id=[]),
    "stamped": header(stamped_headers=["x"], stamps={"x": 7}),
    "asks for a result": header(ignore_result=False),
    "first protocol": field(
        headers={},
        body=base64.b64encode(b'{"task": "charrnn.work", "id": "1", "args": ["generate"]}').decode(),
    ),
}


@pytest.fixture
def genuine(queue: Queue, settings: Settings) -> Message:
    """A notification as it waits in a broker."""
    queue.ring("generate", 1)
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        message: Message = json.loads(client.rpop(f"{KEY_PREFIX}generate"))
    return message


def forged(genuine: Message, forge: Forge) -> bytes:
    message = copy.deepcopy(genuine)
    message["properties"]["delivery_tag"] = message["headers"]["id"] = secrets.token_hex(8)
    forge(message)
    return json.dumps(message).encode()


def taken(home: Home, *messages: bytes) -> bool:
    """Push messages and wait until they are taken. Return False if the worker, and its stack with it, ended instead."""
    try:
        with broker(home) as client:
            client.lpush(f"{KEY_PREFIX}generate", *messages)
        until(lambda: not waiting(home), "the messages to be taken")
    except redis.ConnectionError:
        return False
    return True


def processes(home: Home) -> tuple[int, int] | None:
    """Return the pids of the stack's worker and of its child, None if they are gone."""
    with closing(sqlite3.connect(home.path / "store.sqlite")) as store:
        row = store.execute("select pid from workers order by seen_at desc limit 1").fetchone()
    stat = Path(f"/proc/{row[0]}/stat") if row else None
    if stat is None or not stat.exists():
        return None
    return int(stat.read_text().rpartition(")")[2].split()[1]), row[0]


def waiting(home: Home) -> dict[str, int]:
    """Return the length of each list in the broker, to which a forged message could have sent others."""
    with broker(home) as client:
        return {key.decode(): client.llen(key) for key in client.scan_iter(_type="list")}


def warnings(log: str) -> list[str]:
    """Return the worker's warnings about unexpected messages, one line each."""
    return [line for line in log.splitlines() if "unexpected message" in line]


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_does_nothing_and_the_worker_continues(stack: Home, genuine: Message, name: str) -> None:
    # Catches: accept_content=["json", "pickle"]; a header that is ignored; a warning about each notification
    before, alive, log = stored(stack), processes(stack), stack.log()
    assert alive
    assert taken(stack, forged(genuine, FORGED[name]))
    assert stored(stack) == before
    job = stack.ok("submit", "-m", "tiny", "-l", "3", "--wait", "--timeout", "60s").strip()
    assert stack.part(job)["attempts"] == 1
    assert processes(stack) == alive
    assert waiting(stack) == {}
    assert not (stack.path / TRACE).exists()
    said = warnings(stack.log()[len(log) :])
    assert len(said) == (name != "a doorbell too many")
    assert all(len(line) < 300 for line in said)


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_a_forged_id_changes_nothing_about_that_job(stack: Home, genuine: Message, state: str) -> None:
    """A part that does not wait is not done, regardless of the owner of the job and the sender of the notification."""
    job = stack.ok("submit", "-m", "tiny", "-l", "1000", "-n", "100000" if state == "cancelled" else "1").strip()
    if state == "cancelled":
        stack.ok("cancel", job)
    until(lambda: stack.part(job)["state"] == state, f"the job to be {state}")
    before = stack.json("status", job), stack.part(job)
    assert taken(stack, *(forged(genuine, body(["generate", f"{job}/{part}"])) for part in (0, 0, 1)))
    stack.ok("submit", "-m", "tiny", "-l", "3", "--wait", "--timeout", "60s")
    assert (stack.json("status", job), stack.part(job)) == before


def test_a_message_of_100_mb_takes_a_few_times_its_size_for_a_while(stack: Home, genuine: Message) -> None:
    """The parent, without a model, holds bytes, text and decoded objects. A broker accepts up to 512 MB."""
    # Catches: received messages that are kept in a list
    alive = processes(stack)
    assert alive
    before = [_memory_mb(pid, "VmRSS") for pid in alive]
    for pid in alive:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak
    assert taken(stack, forged(genuine, raw_body("A" * 100_000_000)), forged(genuine, FORGED["a doorbell too many"]))
    stack.ok("submit", "-m", "tiny", "-l", "3", "--wait", "--timeout", "60s")
    assert processes(stack) == alive
    parent, child = (_memory_mb(pid, "VmHWM") - begun for pid, begun in zip(alive, before, strict=True))
    assert (200 < parent < 320, child < 50) == (True, True), (parent, child)
    assert _memory_mb(alive[0], "VmRSS") < before[0] + 20


CALL = {"task": "charrnn.work", "args": ["generate"], "kwargs": {}, "options": {"queue": "elsewhere"}}

FATAL: dict[str, bytes | Forge] = {
    "no JSON": b"garbage",
    "empty": b"",
    "no UTF-8": b"\xff\xfe",
    "JSON, nested": b"[" * 100_000,
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "an object": b"{}",
    "no body": without("body"),
    "no type": without("content-type"),
    "no properties": without("properties"),
    "properties null": field(properties=None),
    "no tag": without("properties", "delivery_tag"),
    "no id": without("headers", "id"),
    "id a list": header(id=["x"]),
    "task a list": header(task=["charrnn.work"]),
    "headers a text": field(headers="x"),
    "body null": raw_body(None),
    "body a number": raw_body(7),
    "body empty": raw_body(""),
    "body no base64": raw_body("é"),
    "body cut off": raw_body("abc"),
    "body an object": raw_body(base64.b64encode(b'{"a": 1}').decode()),
    "body of two": raw_body(base64.b64encode(b"[[], {}]").decode()),
    "expires a list": header(expires=[]),
    "time limits of text": header(timelimit=["x", "y"]),
    "a time limit": header(timelimit=[1e-3, 1e-3]),
    "calls back": body(["generate"], {}, {"callbacks": [CALL]}),
    "goes on": body(["generate"], {}, {"chain": [CALL]}),
    "calls on errors": body([], {}, {"errbacks": [CALL]}),
}


def test_a_message_of_unknown_form_does_not_end_the_worker(home: Home, genuine: Message, untrained: str) -> None:
    """The test has its own stack, which may fail. A notification follows each message: a dead worker takes none."""
    doorbell = forged(genuine, FORGED["a doorbell too many"])
    home.settings |= LIGHT
    with home.up():
        alive = processes(home)
        for name, forge in FATAL.items():
            message = forge if isinstance(forge, bytes) else forged(genuine, forge)
            assert taken(home, message, doorbell), f"{name}: the worker ended"
            assert processes(home) == alive, f"{name}: the worker began anew"
        home.ok("models", "import", untrained)
        home.ok("submit", "-m", "tiny", "-l", "5", "--wait")
        assert (processes(home), waiting(home)) == (alive, {})


def test_a_broadcast_does_not_end_the_worker(home: Home, genuine: Message) -> None:
    with home.up(), make_celery(Settings(home=home.path)) as app:
        app.control.shutdown()
        for _ in range(20):  # the broadcast comes by another connection
            assert taken(home, forged(genuine, FORGED["a doorbell too many"]))


def test_garbage_among_messages_in_hand_does_not_end_the_worker(home: Home, genuine: Message) -> None:
    # Catches: Kombu's restore, which reads unacknowledged messages
    with home.up(), broker(home) as client:
        client.hset(f"{KEY_PREFIX}unacked", "x", b"garbage")
        client.zadd(f"{KEY_PREFIX}unacked_index", {"x": 0})
    with home.up(), broker(home) as client:  # the worker checks 10 s after its start, then every 100 s
        alive = processes(home)
        until(lambda: not client.exists(f"{KEY_PREFIX}unacked_index"), "it to be looked at")
        assert taken(home, forged(genuine, FORGED["a doorbell too many"]))
        assert (processes(home), client.hexists(f"{KEY_PREFIX}unacked", "x")) == (alive, False)
