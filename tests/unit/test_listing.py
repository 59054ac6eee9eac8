"""Listing text files: each once, and nothing left out silently."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from charrnn.errors import TextError
from charrnn.text.listing import expand


def test_a_file_that_is_named_in_several_ways_is_read_once(tmp_path: Path) -> None:
    # Catches: a text that is trained on three times
    make_files(tmp_path, "texts/a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "texts")
    folders = [tmp_path / "texts", tmp_path / "texts" / ".." / "texts", tmp_path / "link"]
    assert expand(folders) == expand(folders[::-1]) == [tmp_path / "link" / "a.txt"]


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_folder_is_its_text_files_searched_deeply(tmp_path: Path) -> None:
    # Catches: a search of the folder alone; a suffix that Windows wrote
    make_files(tmp_path, "b.TXT", "a.txt", "deep/er/c.Txt", "notes.md")
    assert expand([tmp_path]) == [tmp_path / "a.txt", tmp_path / "b.TXT", tmp_path / "deep/er/c.Txt"]


def test_links_to_folders_are_followed_and_a_circle_ends(tmp_path: Path) -> None:
    make_files(tmp_path, "elsewhere/b.txt", "texts/a.txt")
    (tmp_path / "texts" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "texts")
    assert expand([tmp_path / "texts"]) == [tmp_path / "texts/a.txt", tmp_path / "texts/link/b.txt"]


def test_files_with_other_names_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_files(tmp_path, "a.txt", *(f"{number}.md" for number in range(5)), ".git/HEAD")
    expand([tmp_path])
    named = ", ".join(f"{tmp_path}/{number}.md" for number in range(3))
    (warning,) = caplog.messages
    assert f"the names do not end in .txt: {named} and 2 more. To read them, pass their names" in warning
    caplog.clear()
    expand([tmp_path, tmp_path / "*.md"])
    assert caplog.messages == []  # Catches: a warning of files that were named


def test_empty_files_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_files(tmp_path, "a.txt")
    for name in ("b.txt", "c.txt"):
        (tmp_path / name).touch()
    assert expand([tmp_path]) == [tmp_path / "a.txt"]
    assert caplog.messages == [f"Left out as empty: {tmp_path}/b.txt, {tmp_path}/c.txt"]
    assert expand([tmp_path / "b.txt"]) == [tmp_path / "b.txt"]  # Catches: an error without the reason


def test_a_named_empty_file_is_kept_if_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_files(tmp_path, "a.txt")
    for name in ("b.txt", "c.txt"):
        (tmp_path / name).touch()
    named = tmp_path / "b.txt"
    assert expand([tmp_path, named], keep_empty=True) == [tmp_path / "a.txt", named]
    assert caplog.messages == [f"Left out as empty: {tmp_path}/c.txt"]


@pytest.mark.parametrize("path", ["", "*.txt"])
def test_what_is_no_regular_file_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    # Catches: a text that shrinks silently when the target of a link is gone
    make_files(tmp_path, "a.txt", "folder.txt/b.md")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / ".lock.txt").symlink_to("nowhere")
    assert expand([tmp_path / path]) == [tmp_path / "a.txt"]
    named = f"{tmp_path}/gone.txt, {tmp_path}/pipe.txt"
    assert caplog.messages[0] == f"Left out, because they are not regular files or lead nowhere: {named}"


def test_a_folder_whose_name_ends_in_txt_is_not_a_file(tmp_path: Path) -> None:
    make_files(tmp_path, "odd.txt/a.txt")
    assert expand([tmp_path]) == [tmp_path / "odd.txt/a.txt"]


def test_a_file_is_itself_whatever_its_name(tmp_path: Path) -> None:
    make_files(tmp_path, "notes [1].md")
    assert expand([str(tmp_path / "notes [1].md")]) == [tmp_path / "notes [1].md"]


@pytest.mark.parametrize("pattern", ["a*.txt", "a?.txt", "a[1]*", "**/a1.txt"])
def test_a_pattern_is_the_files_that_match_it(tmp_path: Path, pattern: str) -> None:
    make_files(tmp_path, "a1.txt", "b1.txt", "a1folder/c.txt")
    assert expand([tmp_path / pattern]) == [tmp_path / "a1.txt"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    make_files(tmp_path, "a.txt")
    assert expand([tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"]) == [tmp_path / "a.txt"]


def test_the_order_of_files_does_not_depend_on_the_order_of_paths(tmp_path: Path) -> None:
    make_files(tmp_path, "a.txt", "b.txt")
    assert expand([tmp_path / "b.txt", tmp_path / "a.txt"]) == [tmp_path / "a.txt", tmp_path / "b.txt"]


@pytest.mark.parametrize(("name", "why"), [
    ("gone.txt", "no such file"),
    ("gone*", "a pattern that no file matches"),
    ("empty", r"a folder without \.txt files\. It has 1 \.md file\. To read the \.md files, pass a pattern: \S+\.md"),
    ("bare", r"a folder without \.txt files. Expected text files or folders of them"),
])  # fmt: skip
def test_a_path_that_names_no_file_is_refused(tmp_path: Path, name: str, why: str) -> None:
    # Catches: a misspelled path beside a good one, so that training silently uses half the text
    make_files(tmp_path, "a.txt", "empty/notes.md", "empty/.git/HEAD.sample", "bare/README")
    with pytest.raises(TextError, match=why):
        expand([tmp_path / "a.txt", tmp_path / name])


def test_a_folder_without_text_files_says_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: advice that reads none of these files, or that a shell takes apart
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path, *(f"my [notes]/{number}.md" for number in range(15)), "my [notes]/a.rst", "deep/er/b.md")
    for folder, shown in (
        ("my [notes]", "It has 15 .md files, 1 .rst file. To read the .md files, pass a pattern: 'my [[]notes]/*.md'"),
        ("deep", "It has 1 .md file. To read the .md files, pass a pattern: 'deep/**/*.md'"),
    ):
        with pytest.raises(TextError) as refused:
            expand([folder])
        assert shown in str(refused.value)
        (pattern,) = shlex.split(str(refused.value).rpartition("a pattern: ")[2])
        assert {file.suffix for file in expand([pattern])} == {".md"}
