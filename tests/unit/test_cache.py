"""The cache of a host: one fetch for all its processes, only whole copies, and the least recently used are deleted."""

from __future__ import annotations

import os
import signal
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import pytest

from charrnn.errors import UnreachableError
from charrnn.jobs.files.cache import Cache

PROCESSES = 3
TIMEOUT_S = 60
SPAWN = get_context("spawn")


def fetch(path: Path, content: bytes = b"abc") -> None:
    path.mkdir()
    (path / "file").write_bytes(content)


def fetch_file(path: Path) -> None:
    path.write_bytes(b"abc")


def not_to_be_called(path: Path) -> None:
    raise AssertionError(f"{path} was fetched again")


def cut_off(path: Path) -> None:
    fetch(path)
    raise UnreachableError("the bucket is away")


def full_disk(path: Path) -> None:
    fetch(path)
    raise OSError(28, "No space left on device")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", max_bytes=10)


def held(cache: Cache) -> list[str]:
    """Return the names in the cache, without the lock."""
    return sorted(path.name for path in cache.root.iterdir() if path.name != "lock")


def add(cache: Cache, sha256: str, size: int, used_at: float) -> None:
    path = cache.get(sha256, partial(fetch, content=b"x" * size))
    os.utime(path, (used_at, used_at))


def test_downloaded_files_are_cached(cache: Cache) -> None:
    path = cache.get("ab", fetch)
    assert (cache.get("ab", not_to_be_called), (path / "file").read_bytes()) == (path, b"abc")


def test_only_its_owner_reads_the_cache(cache: Cache) -> None:
    cache.get("ab", fetch)
    assert cache.root.stat().st_mode & 0o077 == 0


def test_a_file_is_cached_like_a_folder(cache: Cache) -> None:
    # Catches: sizes and deletion of folders alone
    path = cache.get("ab", fetch_file)
    assert (cache.get("ab", not_to_be_called), path.read_bytes()) == (path, b"abc")
    add(cache, "cd", 8, 2)
    assert held(cache) == ["cd"]
    cache.forget("cd")
    cache.get("ab", fetch_file)
    cache.forget("ab")
    assert held(cache) == []


def test_a_fetch_that_fails_leaves_nothing(cache: Cache) -> None:
    # Catches: fetching directly to the final name
    with pytest.raises(UnreachableError, match="the bucket is away"):
        cache.get("ab", cut_off)
    assert (held(cache), cache.get("ab", fetch)) == ([], cache.root / "ab")


def test_a_full_disk_is_reported_and_leaves_nothing(cache: Cache) -> None:
    with pytest.raises(UnreachableError, match=r"The cache .*/cache cannot be written: No space left on device"):
        cache.get("ab", full_disk)
    assert held(cache) == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnreachableError, match=r"The cache .*/file/cache cannot be written: "):
        Cache(tmp_path / "file" / "cache").get("ab", fetch)


def test_leftovers_of_a_killed_download_are_deleted_by_the_next(cache: Cache) -> None:
    # Catches: gigabytes that nobody finds, under a random name
    process = SPAWN.Process(target=_killed, args=(cache.root,))
    process.start()
    process.join()
    assert (process.exitcode, len(held(cache))) == (-signal.SIGKILL, 1)
    cache.get("cd", fetch)
    assert held(cache) == ["cd"]


def _killed(root: Path) -> None:
    def fetch_half(path: Path) -> None:
        fetch(path)
        os.kill(os.getpid(), signal.SIGKILL)

    Cache(root).get("ab", fetch_half)


def test_deleted_copies_are_downloaded_again(cache: Cache) -> None:
    cache.get("ab", fetch)
    cache.forget("ab")
    cache.forget("ab")
    assert held(cache) == []
    path = cache.get("ab", partial(fetch, content=b"new"))
    assert (path / "file").read_bytes() == b"new"


def test_the_least_recently_used_copies_are_deleted_beyond_the_limit(cache: Cache) -> None:
    # Catches: deletion in the order of names, or of fetching
    for sha256, used_at in (("aa", 2), ("bb", 1), ("cc", 3)):
        add(cache, sha256, 3, used_at)
    assert held(cache) == ["aa", "bb", "cc"]
    add(cache, "dd", 4, 4)  # 13 bytes: one must go
    assert held(cache) == ["aa", "cc", "dd"]


def test_using_a_copy_keeps_it(cache: Cache) -> None:
    # Catches: no utime at a use
    for sha256, used_at in (("aa", 1), ("bb", 2)):
        add(cache, sha256, 5, used_at)
    cache.get("aa", not_to_be_called)
    add(cache, "cc", 5, 3)
    assert held(cache) == ["aa", "cc"]


def test_a_copy_larger_than_the_limit_is_kept_alone(cache: Cache) -> None:
    # Catches: a version that is deleted before it is read
    add(cache, "aa", 5, 1)
    add(cache, "bb", 50, 2)
    assert held(cache) == ["bb"]


def _work(root: Path, door: Semaphore, fetched: Semaphore) -> None:
    def fetch_slowly(path: Path) -> None:
        """Wait until all processes have started, then fetch."""
        assert all(door.acquire(timeout=TIMEOUT_S) for _ in range(PROCESSES))
        fetched.release()
        fetch(path)

    door.release()
    assert Cache(root).get("ab", fetch_slowly)


def test_processes_that_start_together_fetch_once(cache: Cache) -> None:
    # Catches: no flock; a lock between threads only
    door, fetched = SPAWN.Semaphore(0), SPAWN.Semaphore(0)
    processes = [SPAWN.Process(target=_work, args=(cache.root, door, fetched)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert [fetched.acquire(block=False) for _ in range(2)] == [True, False]
