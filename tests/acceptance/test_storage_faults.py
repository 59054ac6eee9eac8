"""Files that cannot be read or written: clients report it, a worker waits, and no file is incomplete.

The full disk and the read-only folder are on a small file system in memory; the faulty bucket is behind a proxy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from charrnn.jobs.files.files import Files
from charrnn.jobs.files.layout import FOLDERS
from tests.fixtures.disks import MOUNT, full, small_disk, unmounted
from tests.fixtures.kills import standing_still
from tests.fixtures.processes import TINY, Home, make_home, until
from tests.fixtures.s3 import Fault, FaultyProxy, S3Server, faulty_proxy

SETTINGS = {
    "CHARRNN_HEARTBEAT_S": "0.1",
    "CHARRNN_MAINTAIN_S": "1",
    "CHARRNN_LEASE_S": "300",
    "CHARRNN_SLICE_S": "0.2",
    "COLUMNS": "400",  # keeps messages on one line
}
ROWS = ("-t", "0.5,1.0", "-n", "200", "-l", "400", "--rng-seed", "3", "--part-rows", "6000")  # one part of 2 s or more


@dataclass(frozen=True)
class Trouble:
    """A fault of the files for the duration of a block, and its message."""

    begin: Callable[[], AbstractContextManager[None]]
    reason: str


@dataclass(frozen=True)
class Place:
    """A running stack and the location of its files."""

    home: Home
    url: str
    troubles: dict[str, Trouble]

    @property
    def of_writers(self) -> list[str]:
        """The faults that can affect a writer."""
        return [name for name in self.troubles if name != "half"]

    def message(self, trouble: str) -> str:
        """Return a pattern of the message."""
        return f"The files in {re.escape(self.url)} cannot be read or written: .*({self.troubles[trouble].reason})"

    def names(self) -> list[str]:
        """Return the names of all visible files."""
        files = Files(self.url, self.home.path / "cache")
        return [file.name for folder in FOLDERS for file in files.list(folder)]

    def files(self, prefix: str) -> dict[str, bytes]:
        """Return the contents of visible files by name: of some, since workers delete checkpoints at any time."""
        files = Files(self.url, self.home.path / "cache")
        return {name: _content(files, name) for name in self.names() if name.startswith(prefix)}

    def submitted(self) -> tuple[list[str], set[str]]:
        """Return the ids of jobs and the names of files without those of workers, of which a late one may arrive."""
        jobs = [job["id"] for job in self.home.json("jobs")]
        return jobs, {name for name in self.names() if not name.startswith("jobs/")}


def _content(files: Files, name: str) -> bytes:
    with files.storage.open(name) as file:
        return file.read()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    """Mount the disk read-only over itself: the mount below cannot change while a file is open for writing."""
    _run(MOUNT, "--bind", str(disk), str(disk))
    try:
        _run(MOUNT, "-o", "remount,bind,ro", str(disk))
        yield
    finally:
        until(lambda: unmounted(disk), "the disk to be writable again")


@contextmanager
def _broken(proxy: FaultyProxy, fault: Fault) -> Iterator[None]:
    proxy.fault = fault
    try:
        yield
    finally:
        if proxy.fault == fault:  # unless another fault has begun
            proxy.fault = None


@pytest.fixture(scope="module")
def archive(stack: Home) -> Path:
    """A trained model for all tests."""
    path = stack.path / "tiny.model"
    stack.ok("models", "export", "tiny@1", "-o", str(path))
    return path


@pytest.fixture(scope="module")
def seeds(stack: Home) -> str:
    path = stack.path / "storage-seeds.txt"
    path.write_text("the old sailor\na small lamp \nevery child\n" * 5)
    return str(path)


@pytest.fixture(scope="module")
def undisturbed(stack: Home, seeds: str) -> str:
    """The results of an undisturbed run. Those of an imported version do not tell what is novel."""
    job = stack.ok("submit", "-m", "tiny@1", "--seeds", seeds, *ROWS, "--wait").strip()
    known = r'"novel": (true|false|null), "longest_copy": [0-9]+'
    return re.sub(known, '"novel": null, "longest_copy": null', stack.ok("results", job))


@contextmanager
def _place(url: str, troubles: dict[str, Trouble], archive: Path) -> Iterator[Place]:
    for home in make_home(**SETTINGS, CHARRNN_FILES_URL=url):
        with home.up():
            home.ok("models", "import", str(archive))
            yield Place(home, url, troubles)


@pytest.fixture(scope="module")
def disk(archive: Path) -> Iterator[Place]:
    with small_disk() as folder:
        troubles = {
            "full": Trouble(partial(full, folder), "No space left on device"),
            "read-only": Trouble(partial(_read_only, folder), "Read-only file system"),
        }
        with _place(str(folder / "files"), troubles, archive) as place:
            yield place


@pytest.fixture(scope="module")
def bucket_in_trouble(s3_server: S3Server, archive: Path) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch, faulty_proxy(s3_server, patch) as (url, proxy):
        troubles = {
            "503": Trouble(partial(_broken, proxy, 503), "Service Unavailable|Please reduce your request rate"),
            "403": Trouble(partial(_broken, proxy, 403), "Forbidden|Access Denied"),
            "half": Trouble(partial(_broken, proxy, "half"), "total bytes expected"),
        }
        with _place(url, troubles, archive) as place:
            yield place


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


TROUBLES = [
    ("disk", "full"),
    ("disk", "read-only"),
    ("bucket_in_trouble", "503"),
    ("bucket_in_trouble", "403"),
    ("bucket_in_trouble", "half"),
]
each_trouble = pytest.mark.parametrize(("place", "trouble"), TROUBLES, indirect=["place"], scope="module")
another = pytest.mark.slow("test_submit_on_a_failed_disk_reports_it_and_stores_nothing")
each_place = pytest.mark.parametrize("place", ["disk", "bucket_in_trouble"], indirect=True, scope="module")


def begin_without(place: Place, seeds: str, trouble: str, troubles: ExitStack) -> str:
    """Submit a job that is claimed after the fault has begun, on a host without cached copies."""
    worker = _worker(place)
    until(lambda: _is_stopped(worker, place), "the worker to stop outside of a transaction")
    shutil.rmtree(place.home.path / "cache", ignore_errors=True)
    try:
        job = place.home.ok("submit", "-m", "tiny", "--seeds", seeds, *ROWS).strip()
        troubles.enter_context(place.troubles[trouble].begin())
    finally:
        os.kill(worker, signal.SIGCONT)
    return job


def _is_stopped(worker: int, place: Place) -> bool:
    """Stop the worker and return True, unless it is in a transaction, which would lock the database for all."""
    os.kill(worker, signal.SIGSTOP)
    with closing(sqlite3.connect(place.home.path / "store.sqlite", timeout=0.5)) as store:
        try:
            store.execute("begin immediate")
        except sqlite3.OperationalError:
            os.kill(worker, signal.SIGCONT)
            return False
    return True


def _worker(place: Place) -> int:
    return int(place.home.workers()[0].split()[1])


def waits(place: Place, job: str, trouble: str) -> bool:
    """Return whether the part reports the fault; it stays leased, and its attempt is the first."""
    part = until(lambda: part if (part := place.home.part(job))["token"] else None, "the part to be claimed")
    assert (part["state"], part["token"], part["attempts"] <= 1) == ("leased", 1, True), place.home.log()
    told = (json.loads(part["progress"] or "null") or {}).get("waits", "")
    return re.match(place.message(trouble), told) is not None


def wait_through(place: Place, job: str, names: list[str], troubles: ExitStack) -> None:
    """Begin one fault after the other, without a pause between them; the job waits for each and then ends.

    Args:
        troubles: the stack that holds the first fault, which has begun.
    """
    for name, following in zip(names, [*names[1:], None], strict=True):
        until(partial(waits, place, job, name), f"the part to wait: {name}")
        assert re.search(rf"in progress\s+part 0: waiting: {place.message(name)}", place.home.ok("status", job))
        before = troubles.pop_all()
        if following:
            troubles.enter_context(place.troubles[following].begin())
        before.close()
    place.home.ok("wait", job, "--timeout", "100s")


def wait_through_work(place: Place, job: str) -> None:
    """Begin the faults that affect a writer, one after the other, when the job's part has made progress."""
    with ExitStack() as troubles:
        with standing_still(place.home, until(lambda: place.home.part_in_work(job), "progress")):
            troubles.enter_context(place.troubles[place.of_writers[0]].begin())  # before the part has ended
        wait_through(place, job, place.of_writers, troubles)


def test_a_part_waits_for_its_model_and_ends_with_the_same_rows(
    bucket_in_trouble: Place, seeds: str, undisturbed: str
) -> None:
    # Catches: no retry; half a body treated as a damaged file; an attempt that is counted
    place = bucket_in_trouble
    killed = _worker(place)
    os.kill(killed, signal.SIGKILL)  # its replacement has not loaded a model
    until(lambda: [worker for worker in place.home.workers() if str(killed) not in worker], "another worker")
    with ExitStack() as troubles:
        job = begin_without(place, seeds, "503", troubles)
        wait_through(place, job, ["503", "403", "half"], troubles)
    assert place.home.ok("results", job) == undisturbed


def test_a_part_waits_for_its_seeds_and_ends_with_the_same_rows(
    bucket_in_trouble: Place, seeds: str, undisturbed: str
) -> None:
    with ExitStack() as troubles:
        job = begin_without(bucket_in_trouble, seeds, "half", troubles)
        wait_through(bucket_in_trouble, job, ["half", "503", "403"], troubles)
    assert bucket_in_trouble.home.ok("results", job) == undisturbed


@each_place
def test_a_part_waits_to_be_written_and_ends_with_the_same_rows(place: Place, seeds: str, undisturbed: str) -> None:
    # Catches: sampling again, which would show in the token
    job = place.home.ok("submit", "-m", "tiny", "--seeds", seeds, *ROWS).strip()
    wait_through_work(place, job)
    assert place.home.ok("results", job) == undisturbed
    assert list(place.files(f"jobs/{job}/")) == [f"jobs/{job}/0-1.jsonl.zst"]


@each_place
def test_a_training_waits_to_write_its_checkpoint_and_ends_in_the_same_weights(
    place: Place, stack: Home, text_file: Path
) -> None:
    job = place.home.ok("train", "slow", str(text_file), *TINY).strip()
    wait_through_work(place, job)
    version = [content for name, content in place.files("models/slow/").items() if name.endswith(".safetensors")]
    trained = [path.read_bytes() for path in stack.path.glob("files/models/tiny/*/model.safetensors")]
    assert version == trained[:1]


@pytest.mark.parametrize(
    ("place", "trouble", "command"),
    [
        *((place, trouble, "submit") for place, trouble in TROUBLES),
        ("disk", "full", "train"),
        ("bucket_in_trouble", "half", "train"),
        *(pytest.param(*TROUBLES[number], "train", marks=another) for number in (1, 2, 3)),
    ],
    indirect=["place"],
    scope="module",
)
def test_submit_on_a_failed_disk_reports_it_and_stores_nothing(
    place: Place, trouble: str, command: str, seeds: str, text_file: Path
) -> None:
    # Catches: a job without its files; a file that no job names
    words = {"submit": ("-m", "tiny", "--seeds", seeds, "-l", "9"), "train": ("new", str(text_file), *TINY)}[command]
    before = place.submitted()
    with place.troubles[trouble].begin():
        done = place.home.call(command, *words)
    assert (done.returncode, done.stdout) == (4, "")
    assert re.search(f"^error: {place.message(trouble)}", done.stderr)
    assert place.submitted() == before
    place.home.ok("cancel", place.home.ok(command, *words).strip())


@each_trouble
def test_reading_results_on_a_failed_disk_reports_it_and_writes_nothing(
    place: Place, trouble: str, seeds: str, tmp_path: Path
) -> None:
    # Catches: an export that ends where the bucket failed
    job = place.home.ok("submit", "-m", "tiny", "--seeds", seeds, "-l", "9", "--wait").strip()
    output = tmp_path / "rows.jsonl"
    with place.troubles[trouble].begin():
        done = place.home.call("results", job, "-o", str(output))
    if not place.url.startswith("s3://"):  # a full disk can be read
        assert done.returncode == 0, done.stderr
    else:
        assert (done.returncode, list(tmp_path.iterdir())) == (4, [])
        assert re.search(f"^error: {place.message(trouble)}", done.stderr)
        place.home.ok("results", job, "-o", str(output))
    assert len(output.read_text().splitlines()) == 15
