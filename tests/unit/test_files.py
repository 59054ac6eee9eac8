"""Files: whole or not at all, unchanged or refused, and never outside of their root."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.errors import InputError, ModelFileError
from charrnn.jobs.files import FileRef, Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder to be stored."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(b"12345")
    return folder


def broken_chunks() -> Iterator[bytes]:
    yield b"half"
    raise OSError("No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_put_is_read_back(files: Files) -> None:
    assert files.read(files.put("parts/1.zst", [b"ab", b"", b"c"])) == b"abc"


def test_a_reference_tells_name_size_and_hash(files: Files) -> None:
    assert files.put("a", [b"ab", b"c"]) == FileRef(name="a", size=3, sha256=hashlib.sha256(b"abc").hexdigest())


def test_a_file_that_breaks_off_leaves_the_earlier_one_and_nothing_else(files: Files) -> None:
    # Catches: writing to the name itself; a temporary file that is left over
    earlier = files.put("parts/a", [b"whole"])
    with pytest.raises(OSError, match="No space left"):
        files.put("parts/a", broken_chunks())
    assert (files.read(earlier), names(files.root / "parts")) == (b"whole", ["a"])


def test_a_file_is_not_visible_before_its_last_byte(files: Files) -> None:
    seen: list[bool] = []

    def chunks() -> Iterator[bytes]:
        yield b"half"
        seen.append(files.path("a").exists())

    files.put("a", chunks())
    assert seen == [False]


def test_a_file_of_one_name_replaces_the_other(files: Files) -> None:
    files.put("a", [b"one"])
    files.put("a", [b"two"])
    assert files.path("a").read_bytes() == b"two"


def test_a_file_named_by_its_content_is_stored_once(files: Files) -> None:
    assert files.put_content("seeds", ".txt", [b"a", b"bc"]) == files.put_content("seeds", ".txt", [b"a", b"bc"])
    assert names(files.root / "seeds") == [hashlib.sha256(b"abc").hexdigest() + ".txt"]


def test_content_that_was_changed_is_refused(files: Files) -> None:
    reference = files.put("a", [b"abc"])
    files.path("a").write_bytes(b"abd")
    with pytest.raises(ModelFileError, match="is not what was written: its sha256 is a52d159f262b"):
        files.read(reference)


def test_a_path_is_not_given_for_a_changed_file(files: Files) -> None:
    reference = files.put("a", [b"abc"])
    files.path("a").write_bytes(b"abd")
    with pytest.raises(ModelFileError, match="is not what was written"):
        files.checked(reference)


def test_a_missing_file_cannot_be_read(files: Files) -> None:
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        files.read(FileRef(name="gone", size=0, sha256="0"))


def test_a_missing_file_has_no_checked_path(files: Files) -> None:
    with pytest.raises(ModelFileError, match="is missing"):
        files.checked(FileRef(name="gone", size=0, sha256="0"))


def test_a_file_can_be_deleted_twice(files: Files) -> None:
    reference = files.put("a", [b"abc"])
    files.delete(reference)
    files.delete(reference)
    assert not files.path("a").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a/../x", ".."])
def test_a_name_cannot_lead_out_of_the_root(files: Files, name: str) -> None:
    with pytest.raises(InputError, match="is not a name of a file below"):
        files.put(name, [b"abc"])


def test_a_reference_cannot_lead_out_of_the_root(files: Files, tmp_path: Path) -> None:
    # Catches: reading any file of the machine by a row of the database
    (tmp_path / "secret").write_bytes(b"abc")
    with pytest.raises(InputError, match="is not a name of a file below"):
        files.read(FileRef(name="../secret", size=3, sha256=hashlib.sha256(b"abc").hexdigest()))


def test_a_root_that_is_written_with_dots_serves_its_files(tmp_path: Path) -> None:
    # Catches: the dots of CHARRNN_HOME=../data taken for those of a name
    files = Files(tmp_path / "here" / ".." / "files")
    (tmp_path / "here").mkdir()
    assert files.read(files.put("a", [b"abc"])) == b"abc"


def test_a_folder_is_copied_with_all_its_files(files: Files, source: Path) -> None:
    folder = files.checked(files.put_folder("models/a", source))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"config.json": b"{}", "weights": b"12345"}


def test_a_folder_s_size_is_that_of_its_files(files: Files, source: Path) -> None:
    assert files.put_folder("models/a", source).size == 7


def test_equal_folders_have_equal_hashes(files: Files, source: Path) -> None:
    assert files.put_folder("models/a", source).sha256 == files.put_folder("models/b", source).sha256


@pytest.mark.parametrize("change", ["content", "more", "fewer", "renamed"])
def test_a_folder_that_was_changed_is_refused(files: Files, source: Path, change: str) -> None:
    # Catches: a hash over contents without names
    reference = files.put_folder("models/a", source)
    weights = files.path("models/a/weights")
    match change:
        case "content":
            weights.write_bytes(b"12346")
        case "more":
            weights.with_name("more").touch()
        case "fewer":
            weights.unlink()
        case "renamed":
            weights.rename(weights.with_name("weighty"))
    with pytest.raises(ModelFileError, match="is not what was written"):
        files.checked(reference)


def test_a_folder_of_one_name_replaces_the_other(files: Files, source: Path) -> None:
    files.put_folder("models/a", source)
    (source / "weights").unlink()
    files.put_folder("models/a", source)
    assert names(files.path("models/a")) == ["config.json"]


def test_a_folder_that_cannot_be_copied_leaves_the_earlier_one_and_nothing_else(files: Files, source: Path) -> None:
    earlier = files.put_folder("models/a", source)
    (source / "nested").mkdir()
    with pytest.raises(IsADirectoryError):
        files.put_folder("models/a", source)
    assert (files.checked(earlier), names(files.root / "models")) == (files.path("models/a"), ["a"])
