"""Where the output of a command goes: a file that is replaced, the target of a link, a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.errors import InputError
from producer.output.destination import check_writable, replace_atomically

COPY = """
import sys
from pathlib import Path
from producer.output.destination import replace_atomically
with replace_atomically(Path(sys.argv[1])) as file:
    file.write(b"new")
"""


def write(path: Path) -> None:
    with replace_atomically(path) as file:
        file.write(b"new")


def test_a_link_leads_to_the_file_to_replace(tmp_path: Path) -> None:
    # Catches: a link that becomes a file beside its target
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert (link.is_symlink(), target.read_bytes()) == (True, b"new")


def test_a_link_to_a_file_that_is_missing_creates_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.touch(0o600)
    write(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replace_atomically(path) as file:
            file.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1"])
def test_redirected_standard_output_gets_the_text(tmp_path: Path, name: str) -> None:
    # Catches: /dev/stdout that is replaced by a file
    with open(tmp_path / "redirected", "wb") as file:
        subprocess.run([sys.executable, "-c", COPY, name], stdout=file, check=True)
    assert (tmp_path / "redirected").read_bytes() == b"new"
    assert Path("/dev/stdout").is_symlink()


@pytest.mark.parametrize("name", ["folder", "file/texts.jsonl", "loop", "none/texts.jsonl"])
def test_a_destination_is_checked_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="cannot be written: "):
        check_writable(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "new", "/dev/null", "/dev/stdout"])
def test_the_check_of_a_destination_changes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    check_writable(tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="loop: cannot be written"), replace_atomically(tmp_path / "loop"):
        pass
