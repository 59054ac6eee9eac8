"""After `charrnn-jobs up` or its worker is killed, only the broker remains."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE
from subprocess import Popen

import redis

from charrnn.jobs.settings import Settings
from tests.fixtures.processes import COMMAND, Home, until


def exists(pid: int) -> bool:
    """Return whether a process runs. One that its parent has not waited for yet has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def child(home: Home) -> int:
    """Return the process id of the only pool child, when it is alive."""
    (name,) = until(home.workers, "a live worker")
    return int(name.removeprefix("worker "))


@contextmanager
def up(home: Home) -> Iterator[Popen[str]]:
    """Run `up` for the length of the block, which may kill it."""
    with open(home.path / "up.log", "a") as log:
        process = Popen([*COMMAND, "up", "--devices", "cpu"], env=home.environment, stderr=log, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_the_broker_of_a_killed_up_is_adopted_by_the_next(home: Home) -> None:
    home.settings = {"CHARRNN_HEARTBEAT_S": "0.1", "CHARRNN_LEASE_S": "2"}
    with up(home) as first:
        orphan = child(home)
        first.kill()
        first.wait()
        # Catches: a worker that goes on without its `up`, and a second one on the same device
        until(lambda: not exists(orphan), "the child's end")
    with redis.Redis(unix_socket_path=str(Settings(home=home.path).broker_socket)) as broker:
        assert broker.ping()  # submits and other workers go on
    until(lambda: not home.workers(), "the store to forget the worker")
    with up(home) as second:
        pid = child(home)
        assert "broker already running" in home.log()
        # Catches: a child that keeps its device without its parent
        os.kill(parent_of(pid), signal.SIGKILL)
        until(lambda: not exists(pid), "the child's end")
        assert second.wait(60) == 1
    assert "the worker ended unexpectedly" in home.log()


def test_up_waits_for_the_worker_of_an_earlier_one(home: Home) -> None:
    # Catches: two workers on one device while the first one drains
    with open(home.path / "worker.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with up(home) as process:
            until(lambda: "waiting until the worker of an earlier" in home.log(), "the note")
            assert "broker ready" not in home.log()
            process.send_signal(signal.SIGINT)
    assert "Traceback" not in home.log()


def test_all_files_of_a_home_are_private(stack: Home) -> None:
    # Catches: files and folders with the rights of the umask
    entries = [
        stack.path / name for name in ("broker", "files", "health", "store.sqlite", "store.sqlite-wal", "up.lock")
    ]
    below = [path for entry in entries for path in (entry, *entry.rglob("*"))]
    rights = {path: S_IMODE(path.lstat().st_mode) for path in below if not path.is_symlink() and not path.is_socket()}
    assert {path: oct(mode) for path, mode in rights.items() if mode & 0o077} == {}
