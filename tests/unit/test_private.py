"""Private folders and homes: modes, owners and links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from charrnn.errors import InputError
from charrnn.jobs.files.cache import Cache
from charrnn.jobs.files.layout import MARKER
from charrnn.jobs.files.location import open_storage
from charrnn.jobs.private import check_folder, close_all, close_home, make_folder, opener


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    """A umask that leaves all rights to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return S_IMODE(path.lstat().st_mode)


def test_a_folder_is_made_private_whatever_the_umask_and_its_mode_before(tmp_path: Path) -> None:
    make_folder(tmp_path / "new")
    (tmp_path / "old").mkdir(mode=0o777)
    make_folder(tmp_path / "old")
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o700, 0o700)


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    # Catches: `mkdir(exist_ok=True)` and `stat`, which accept a link to another user's folder
    (tmp_path / "there").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for take in (make_folder, check_folder):
        with pytest.raises(InputError, match="is not a folder, or is a link"):
            take(tmp_path / "link")
    assert mode(tmp_path / "there") == 0o755
    with pytest.raises(OSError, match="symbolic links"):
        opener(str(tmp_path / "link"), os.O_RDONLY)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be a folder of CHARRNN_HOME: File exists"):
        make_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be a folder of CHARRNN_HOME: Not a directory"):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("rights", [0o710, 0o702, 0o755, 0o777])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, rights: int) -> None:
    # Catches: a check of the owner alone
    (tmp_path / "open").mkdir(mode=rights)
    with pytest.raises(InputError, match=r"is open to other users\. Run: chmod 700"):
        check_folder(tmp_path / "open")


@pytest.mark.skipif(os.getuid() != 0, reason="a file can be given away by root alone")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    for take in (make_folder, check_folder):
        with pytest.raises(InputError, match="belongs to another user"):
            take(tmp_path / "theirs")


def test_a_missing_folder_is_accepted(tmp_path: Path) -> None:
    check_folder(tmp_path / "missing")


def make_old_home(home: Path) -> None:
    """Make a home as earlier releases left it."""
    (home / "files" / "jobs" / "1").mkdir(parents=True)
    (home / "health").mkdir()
    (home / "compiled").mkdir()
    for name in ("store.sqlite", "store.sqlite-wal", "up.lock", "files/jobs/1/0-1.jsonl.zst", "health/here-1"):
        (home / name).touch()


def test_an_old_home_becomes_private(tmp_path: Path) -> None:
    # Catches: a home that is private only when it is new
    home = tmp_path / "home"
    make_old_home(home)
    close_home(home)
    assert {mode(path) for path in (home, home / "files", home / "health")} == {0o700}
    assert mode(home / "store.sqlite") == 0o600
    close_all(home)
    for path in home.rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_foreign_files_keep_their_mode(tmp_path: Path) -> None:
    # Catches: CHARRNN_HOME=/opt, after which nobody else can start a program there
    home, program = tmp_path / "opt", tmp_path / "opt" / "program"
    make_old_home(home)
    program.touch(mode=0o755)
    (home / "files" / "link").symlink_to(program)
    close_all(home)
    assert (mode(home), mode(program), mode(home / "files"), mode(home / "store.sqlite")) == (
        0o777,
        0o755,
        0o700,
        0o600,
    )


def test_copies_in_the_cache_are_private(tmp_path: Path) -> None:
    # Catches: a version from a bucket that everybody on this host can read
    def fetch(path: Path) -> None:
        path.mkdir()
        (path / "model.safetensors").touch()

    Cache(tmp_path / "cache").get("ab", fetch)
    rights = {path.name: mode(path) for path in tmp_path.rglob("*")}
    assert rights == {"cache": 0o700, "lock": 0o600, "ab": 0o700, "model.safetensors": 0o600}


@pytest.mark.parametrize(("place", "rights"), [("home/files", (0o700, 0o600)), ("shared", (0o777, 0o666))])
def test_files_in_a_home_are_private_and_those_of_a_team_are_not(
    tmp_path: Path, place: str, rights: tuple[int, int]
) -> None:
    # Catches: folders and files with the rights of the umask; a shared folder that the other hosts' users cannot read
    files = open_storage(str(tmp_path / place), tmp_path / "home" / "cache")
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / MARKER).touch()
    with files.stage("jobs/1/part") as path:
        path.touch()
        files.publish(path, "jobs/1/part")
    folder = tmp_path / place / "jobs"
    assert (mode(folder), mode(folder / "1"), mode(folder / "1" / "part")) == (rights[0], *rights)
