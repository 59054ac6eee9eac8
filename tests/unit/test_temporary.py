"""Temporary folders and files, and what is left of them after `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from charrnn.jobs.files.temporary import sweep_temporary_folders, temporary_file, temporary_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from charrnn.jobs.files.temporary import temporary_file, temporary_folder
with temporary_folder() as folder, temporary_file(Path(sys.argv[1])) as file:
    (folder / "half").write_text("half")
    file.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def leave_litter(target: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_and_a_file_are_gone_after_their_blocks(tmp_path: Path, temporary: Path) -> None:
    with temporary_folder() as folder, temporary_file(tmp_path / "texts.csv") as file:
        assert (folder.is_dir(), file.is_file(), file.parent) == (True, True, tmp_path)
    assert (names(temporary), names(tmp_path)) == ([], ["temporary"])


def test_only_leftovers_of_killed_processes_are_swept(tmp_path: Path, temporary: Path) -> None:
    # Catches: no lock, so that the folders of live processes are deleted; a sweep that deletes nothing
    target = tmp_path / "texts.csv"
    with temporary_folder() as mine, temporary_file(target) as writing:
        leave_litter(target)
        assert (len(names(temporary)), len(names(tmp_path))) == (2, 3)
        sweep_temporary_folders()
        with temporary_file(target) as other:
            assert names(temporary) == [mine.name]
            assert names(tmp_path) == sorted([writing.name, other.name, "temporary"])


def test_only_litter_of_the_same_target_is_swept(tmp_path: Path) -> None:
    # Catches: a pattern in a file's name; hidden files of other programs
    kept = [".texts.csv.backup", ".texts.csv.0123456g", ".notes.0123abcd", ".texts.csv.0123abcd.old"]
    for name in kept:
        (tmp_path / name).touch()
    for target in ("texts.csv", "[a-z]*", "*"):
        with temporary_file(tmp_path / target):
            pass
    assert names(tmp_path) == sorted([*kept, "temporary"])


def test_a_link_of_another_program_is_left_alone(tmp_path: Path, temporary: Path) -> None:
    # Catches: a sweep that follows links out of the temporary folder
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (temporary / "charrnn-tmp-link").symlink_to(outside)
    sweep_temporary_folders()
    assert names(outside) == ["file"]
